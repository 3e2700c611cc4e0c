"""All answers of a night, one after another."""
