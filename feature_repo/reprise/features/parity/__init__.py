"""Whether the executors agree on every feature value."""
