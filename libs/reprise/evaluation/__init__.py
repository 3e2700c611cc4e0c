"""Evaluation of predicted probabilities against what users did."""
