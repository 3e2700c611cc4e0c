"""Builds training rows, trains, evaluates, publishes a bundle."""
