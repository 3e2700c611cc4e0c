"""Makes the Kafka topics that the platform declares."""
