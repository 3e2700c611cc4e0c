"""Folds the event log into online features, exactly once."""
