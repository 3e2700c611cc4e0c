"""Checks a running installation end to end, and says how to fix what fails."""
