"""A page that says what runs, what it measures, and what is wrong with it."""
