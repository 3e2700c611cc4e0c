"""What a training run publishes: manifest, metadata, model card, summary."""
