"""Bounded state: over the events of an entity, and over its pairs."""
