"""Scores all pairs of users and the products that they bought, as files."""
