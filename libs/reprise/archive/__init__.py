"""The offline store: the log as Parquet, every record once."""

from reprise.archive.compaction import CompactionReport, compact
from reprise.archive.exceptions import (
    CorruptSegmentError,
    EmptyStoreError,
    MissingRecordsError,
    OfflineError,
    SegmentGoneError,
    StoreAddressError,
    StoreUnavailableError,
)
from reprise.archive.layout import Coverage, Hole, Part, Segment, log_date
from reprise.archive.reading import ArchivedEvents, events_dataset, write_events
from reprise.archive.records import archive_table
from reprise.archive.store import OfflineStore

__all__ = [
    "ArchivedEvents",
    "CompactionReport",
    "CorruptSegmentError",
    "Coverage",
    "EmptyStoreError",
    "Hole",
    "MissingRecordsError",
    "OfflineError",
    "OfflineStore",
    "Part",
    "Segment",
    "SegmentGoneError",
    "StoreAddressError",
    "StoreUnavailableError",
    "archive_table",
    "compact",
    "events_dataset",
    "log_date",
    "write_events",
]
