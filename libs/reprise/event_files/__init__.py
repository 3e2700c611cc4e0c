"""Import of histories from CSV, JSON and Parquet files; ``importer.import_events`` lists the errors of all modules."""
