"""The report of a night: one page of the answers that are there."""
