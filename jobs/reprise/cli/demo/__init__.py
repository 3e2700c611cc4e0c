"""The demo: the whole platform as one process tree on one machine."""
