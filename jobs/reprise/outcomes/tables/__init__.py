"""The archived predictions and events of a run as DuckDB tables."""
