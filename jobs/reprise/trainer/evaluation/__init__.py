"""Evaluation on held-out rows: baselines, histograms."""
