"""Creation of the declared Kafka topics."""
