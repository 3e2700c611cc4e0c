"""The ``inspect`` command: what an import would read of a file."""
