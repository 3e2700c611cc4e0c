"""Import of event histories from CSV and Parquet files."""
