"""Errors of the backfill."""


class BackfillError(Exception):
    """Root of this package's errors."""


class StreamedRowsError(BackfillError):
    """Rows hold events that history does not; writing over them would lose those."""

    def __init__(self, view: str, rows: int) -> None:
        self.view = view
        self.rows = rows
        super().__init__(
            f"{rows:,} rows of {view} already hold events of the stream, which a backfill from a file would lose;"
            " stop the stream and clear the store, or pass --replace to write over them"
        )
