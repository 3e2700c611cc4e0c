"""Files of events: reading any CSV or Parquet, and saying what is wrong with it.

Import ``event_file_options`` from ``reprise.event_files.command_line``: it needs no DuckDB, so that a
command's ``--help`` is quick. For the same reason the import itself is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from reprise.event_files.exceptions import (
    BadRowsError,
    EventFilesError,
    InvalidOptionError,
    MissingColumnsError,
    NoEventsError,
    UnreadableFileError,
    UnusableColumnError,
)
from reprise.event_files.options import ColumnMap, ImportOptions, parse_event_types
from reprise.event_files.report import ImportReport, RowProblem

if TYPE_CHECKING:
    from reprise.event_files.importing import import_events
    from reprise.event_files.schema import EVENT_SCHEMA

__all__ = [
    "EVENT_SCHEMA",
    "BadRowsError",
    "ColumnMap",
    "EventFilesError",
    "ImportOptions",
    "ImportReport",
    "InvalidOptionError",
    "MissingColumnsError",
    "NoEventsError",
    "RowProblem",
    "UnreadableFileError",
    "UnusableColumnError",
    "import_events",
    "parse_event_types",
]


_LOADED_WHEN_USED = {
    "EVENT_SCHEMA": "reprise.event_files.schema",
    "import_events": "reprise.event_files.importing",
}


def __getattr__(name: str) -> Any:
    if name not in _LOADED_WHEN_USED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LOADED_WHEN_USED[name]), name)
