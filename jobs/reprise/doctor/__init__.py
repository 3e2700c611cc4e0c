"""Checks a running installation from end to end, and says what to do about what is wrong."""
