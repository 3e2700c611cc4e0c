"""The events and rows that a model is trained and evaluated on."""
