"""The partitioned log that events flow through."""
