"""Whom a campaign writes to, whom it holds out, and what it changed."""
