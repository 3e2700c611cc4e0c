"""The offline store: the log as Parquet, every record once."""

from reprise.archive.archived_events import ArchivedEvents, events_dataset, prepend_history, write_events
from reprise.archive.compaction import CompactionReport, compact
from reprise.archive.exceptions import (
    CorruptSegmentError,
    EmptyStoreError,
    MissingRecordsError,
    OfflineStoreError,
    SegmentGoneError,
)
from reprise.archive.layout import Coverage, Hole, Part, Segment, log_date
from reprise.archive.offline_store import OfflineStore
from reprise.archive.records import archive_table

__all__ = [
    "ArchivedEvents",
    "CompactionReport",
    "CorruptSegmentError",
    "Coverage",
    "EmptyStoreError",
    "Hole",
    "MissingRecordsError",
    "OfflineStore",
    "OfflineStoreError",
    "Part",
    "Segment",
    "SegmentGoneError",
    "archive_table",
    "compact",
    "events_dataset",
    "log_date",
    "prepend_history",
    "write_events",
]
