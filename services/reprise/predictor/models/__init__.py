"""Data types: the API contract, predictions, arms, loaded models. They know no HTTP, Kafka or Redis."""
