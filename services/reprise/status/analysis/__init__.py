"""From snapshots to figures, findings and the report."""
