"""Evaluation on held-out rows: baselines, importances, histograms."""
