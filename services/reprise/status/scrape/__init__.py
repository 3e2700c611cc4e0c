"""Reading every process of the platform once."""
