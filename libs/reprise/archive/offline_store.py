"""The offline store: segments of archived topics under one URL."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from reprise.archive.exceptions import CorruptSegmentError, SegmentGoneError
from reprise.archive.layout import (
    Coverage,
    Gap,
    Part,
    Segment,
    accepted_path,
    cover,
    date_directory,
    parse_accepted,
    parse_path,
)
from reprise.archive.records import schema_of, to_parquet
from reprise.runtime.storage import Storage, convert_errors, open_storage

_BATCH_ROWS = 65_536


class OfflineStore:
    """Segments of archived topics under a URL such as ``s3://bucket/offline`` or ``data/offline``.

    Methods raise ``StorageUnavailableError`` where the storage fails; writing and compacting again is safe. Tests may
    pass a ``storage`` instead of the one of the URL.

    Raises:
        StorageAddressError: The protocol is unknown, or the package for it is not installed.
    """

    def __init__(self, url: str, *, storage: Storage | None = None) -> None:
        self.url = url
        self.storage = storage if storage is not None else open_storage(url)

    def write(self, segment: Segment, table: pa.Table) -> int:
        """Write or replace a segment, and return its size in bytes.

        Raises:
            ValueError: The rows do not match the segment's name.
        """
        _require_rows(segment, table)
        data = to_parquet(table)
        self.storage.write(segment.path, data)
        return len(data)

    def remove(self, segment: Segment) -> None:
        """Remove a segment, if it is there."""
        self.storage.remove(segment.path)

    def segments(self, topic: str) -> list[Segment]:
        """Return all segments of a topic, overlapping ones included."""
        return self._listed(topic, topic)

    def segments_of_day(self, topic: str, topic_id: bytes, day: date) -> list[Segment]:
        """Return the segments that begin on a day, overlapping ones included."""
        return self._listed(topic, date_directory(topic, topic_id, day))

    def coverage(self, topic: str) -> list[Coverage]:
        """Return the parts to read so that every record of a topic comes once, by incarnation."""
        files = self.storage.files(topic)
        accepted = (parse_accepted(topic, path) for path in files)
        return cover(_segments(topic, files), (each for each in accepted if each is not None))

    def accept(self, topic: str, topic_id: bytes, gap: Gap) -> None:
        """Mark a gap as accepted: the rest is read without an error from now on."""
        note = {"accepted_at": datetime.now(UTC).isoformat(timespec="seconds"), "records": gap.records}
        self.storage.write(accepted_path(topic, topic_id, gap), json.dumps(note).encode())

    def read(self, part: Part) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a part of a segment, in offset order.

        Raises:
            SegmentGoneError: A compaction has replaced the segment since it was listed.
            CorruptSegmentError: The segment ends elsewhere than its name says, or is no such Parquet file.
        """
        location = self.storage.location(part.segment.path)
        expected = part.segment.first
        for batch in self._batches(part.segment, location):
            offsets = batch.column("offset").to_numpy()
            if not _ascend(offsets, expected):
                raise CorruptSegmentError(location, f"the offsets from {expected:,} on are not in order")
            skipped = int(np.searchsorted(offsets, part.first))
            expected = int(offsets[-1]) + 1
            if skipped < len(offsets):
                yield batch.slice(skipped)
        if expected != part.segment.last + 1:
            raise CorruptSegmentError(location, f"ends before offset {expected:,}")

    def _batches(self, segment: Segment, location: str) -> Iterator[pa.RecordBatch]:
        try:
            with self.storage.open(segment.path) as opened, convert_errors("read", location):
                file = pq.ParquetFile(opened)
                if not file.schema_arrow.equals(schema_of(segment.topic)):
                    raise CorruptSegmentError(location, "has other columns than this version writes")
                yield from file.iter_batches(_BATCH_ROWS)
        except FileNotFoundError as error:
            raise SegmentGoneError(location) from error
        except pa.ArrowInvalid as error:
            raise CorruptSegmentError(location, f"is no Parquet file: {error}") from error

    def _listed(self, topic: str, directory: str) -> list[Segment]:
        return _segments(topic, self.storage.files(directory))


def _ascend(offsets: npt.NDArray[np.int64], first: int) -> bool:
    return len(offsets) > 0 and bool(offsets[0] >= first and (np.diff(offsets) > 0).all())


def _segments(topic: str, files: Iterable[str]) -> list[Segment]:
    found = (parse_path(topic, path) for path in files)
    return [segment for segment in found if segment is not None]


def _require_rows(segment: Segment, table: pa.Table) -> None:
    offsets = table.column("offset").to_numpy()
    if not _ascend(offsets, segment.first) or offsets[-1] != segment.last:
        raise ValueError(f"{segment.path}: the table does not hold these offsets")
    if not (table.column("partition").to_numpy() == segment.partition).all():
        raise ValueError(f"{segment.path}: the table holds rows of other partitions")
