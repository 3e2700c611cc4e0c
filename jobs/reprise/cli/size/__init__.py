"""What a load of a given size needs, from measured costs."""
