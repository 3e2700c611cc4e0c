"""Parity: reference, batch SQL and fold agree on every feature value."""
