"""Measures of each arm, and sequential tests of each candidate against the baseline."""
