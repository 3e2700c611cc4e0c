"""Checks of the logged features: consistency with the offline store, and drift since training."""
