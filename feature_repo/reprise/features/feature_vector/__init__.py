"""From states to the feature vector: feature functions, one row at a time or vectorized."""
