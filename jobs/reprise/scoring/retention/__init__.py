"""Whether each user buys anything within the horizon: whom to keep."""
