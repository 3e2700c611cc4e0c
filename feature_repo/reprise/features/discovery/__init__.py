"""From a definition to the plan: Deep Feature Synthesis, compilation to accumulators, selection."""
