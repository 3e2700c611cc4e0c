"""What a run writes: the report page, JSON, plots and summary."""
