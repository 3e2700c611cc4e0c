"""Takes events over HTTP, or simulates them, and appends them to the event log."""
