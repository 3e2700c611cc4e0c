"""Import of event histories from CSV and Parquet files; ``importer.import_events`` lists the errors of all modules."""
