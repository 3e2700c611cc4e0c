"""Errors of the materializer."""


class MaterializerError(Exception):
    """Root of this package's errors."""


class ContendedRowError(MaterializerError):
    """A row kept changing under a write; the batch is folded again from its start."""

    def __init__(self, view: str, rows: int, attempts: int) -> None:
        self.view = view
        super().__init__(f"{rows} rows of {view} changed {attempts} times while they were being written")
