"""HTTP handlers of the producer."""
