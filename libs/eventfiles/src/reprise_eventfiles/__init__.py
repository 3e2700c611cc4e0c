"""Files of events: reading any CSV or Parquet, and saying what is wrong with it."""
