"""The feature engine: definitions, plan, accumulators, batch SQL, fold, reference."""
