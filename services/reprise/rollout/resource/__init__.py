"""The ModelRollout resource: spec, status, annotations and events."""
