"""The status page: what runs, how well, and what is wrong."""
