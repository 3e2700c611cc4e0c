"""The producer's rules: event ingest and the simulator."""
