"""Makes synthetic shopping history with a known truth."""
