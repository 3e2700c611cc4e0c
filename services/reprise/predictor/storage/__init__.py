"""Redis and Kafka: online state behind a circuit breaker, store health, the prediction log."""
