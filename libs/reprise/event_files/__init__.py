"""Import of event histories from CSV and Parquet files.

The importer is in ``reprise.event_files.importer`` and the Arrow schema in ``reprise.event_files.schema``: both
load slow libraries, which ``--help`` does without.
"""

from reprise.event_files.exceptions import (
    BadRowsError,
    EventFilesError,
    InvalidOptionError,
    MissingColumnsError,
    NoEventsError,
    UnreadableFileError,
    UnusableColumnError,
)
from reprise.event_files.options import ImportOptions
from reprise.event_files.report import ImportReport, RowProblem

__all__ = [
    "BadRowsError",
    "EventFilesError",
    "ImportOptions",
    "ImportReport",
    "InvalidOptionError",
    "MissingColumnsError",
    "NoEventsError",
    "RowProblem",
    "UnreadableFileError",
    "UnusableColumnError",
]
