"""Whom a campaign writes to, its holdout, and what it changed."""
