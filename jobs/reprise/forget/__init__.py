"""Erases users: online features, archive, embedded log."""
