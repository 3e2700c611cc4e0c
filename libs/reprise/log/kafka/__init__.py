"""The event log in Kafka."""
