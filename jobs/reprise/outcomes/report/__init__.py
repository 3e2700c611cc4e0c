"""What a run writes: the report page, JSON, plots, summary and evidence."""
