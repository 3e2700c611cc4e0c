"""The offline store: the log as Parquet, every record once."""

from reprise_offline.compaction import CompactionReport, compact
from reprise_offline.exceptions import (
    CorruptSegmentError,
    EmptyStoreError,
    MissingRecordsError,
    OfflineError,
    SegmentGoneError,
    StoreAddressError,
    StoreUnavailableError,
)
from reprise_offline.layout import Coverage, Hole, Part, Segment, log_date
from reprise_offline.reading import ArchivedEvents, events_dataset, write_events
from reprise_offline.records import archive_table
from reprise_offline.store import OfflineStore

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
