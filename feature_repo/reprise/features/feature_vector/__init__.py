"""From states to the feature vector, one row at a time or vectorized."""
