"""Rolls models out: reconciles ``ModelRollout`` resources into the routing document that predictors apply."""
