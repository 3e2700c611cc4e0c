"""The offline store: the log as Parquet, every record once."""

from reprise.archive.archived_events import ArchivedEvents as ArchivedEvents
from reprise.archive.archived_events import events_dataset as events_dataset
from reprise.archive.archived_events import prepend_history as prepend_history
from reprise.archive.archived_events import write_events as write_events
from reprise.archive.compaction import CompactionReport as CompactionReport
from reprise.archive.compaction import compact as compact
from reprise.archive.compaction import expire as expire
from reprise.archive.compaction import rewrite as rewrite
from reprise.archive.erasures import ERASED as ERASED
from reprise.archive.erasures import Erasure as Erasure
from reprise.archive.exceptions import CorruptSegmentError as CorruptSegmentError
from reprise.archive.exceptions import EmptyStoreError as EmptyStoreError
from reprise.archive.exceptions import MissingRecordsError as MissingRecordsError
from reprise.archive.exceptions import OfflineStoreError as OfflineStoreError
from reprise.archive.exceptions import SegmentGoneError as SegmentGoneError
from reprise.archive.exceptions import UserErasedError as UserErasedError
from reprise.archive.layout import Coverage as Coverage
from reprise.archive.layout import Gap as Gap
from reprise.archive.layout import Part as Part
from reprise.archive.layout import Segment as Segment
from reprise.archive.layout import log_date as log_date
from reprise.archive.offline_store import OfflineStore as OfflineStore
from reprise.archive.records import archive_table as archive_table
