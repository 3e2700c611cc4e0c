"""Feast's Redis layout, and reads and guarded writes of state rows in it."""
