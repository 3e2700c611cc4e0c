"""The model of users: whether a user buys anything within the horizon."""
