"""The offline store: the log as Parquet, every record once."""
