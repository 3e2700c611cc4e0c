"""Promotion of a trained model to the candidate of a ModelRollout."""
