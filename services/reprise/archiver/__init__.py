"""Keeps the event log and the prediction log as Parquet, exactly once."""
