"""The offline store: segments of archived topics under one URL."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from reprise.archive.erasures import (
    DIRECTORY,
    Erasure,
    erase,
    erasure_ids,
    erasure_path,
    matching_rows,
    relevant,
)
from reprise.archive.exceptions import CorruptSegmentError, SegmentGoneError, UserErasedError
from reprise.archive.layout import (
    Coverage,
    Gap,
    Part,
    Segment,
    absent_ranges,
    accepted_path,
    cover,
    date_directory,
    parse_accepted,
    parse_path,
)
from reprise.archive.records import POSITION_FIELDS, POSTED_BY, REJECTED_FIELDS, schema_of, to_parquet
from reprise.log import EVENTS
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
        self._erasures: dict[str, Erasure | None] = {}

    def write(self, segment: Segment, table: pa.Table) -> int:
        """Write or replace a segment, without the rows of erased users, and return its size in bytes.

        Raises:
            ValueError: The rows do not match the segment's name.
        """
        _require_rows(segment, table)
        while True:
            begun = _begun(self.erasures())
            batches = [erase(batch, segment.topic, self.pending_erasures) for batch in table.to_batches()]
            data = to_parquet(pa.Table.from_batches(batches, table.schema))
            self.storage.write(segment.path, data)
            if _begun(self.erasures()) == begun:
                return len(data)

    def write_absent(self, segment: Segment, table: pa.Table) -> int:
        """Write those rows of a segment whose offsets no segment of its day holds, and return the size in bytes.

        The log may still have what was erased from the store, so the store's offsets are not written again.

        Raises:
            ValueError: The rows do not match the segment's name.
        """
        _require_rows(segment, table)
        found = self.segments_of_day(segment.topic, segment.topic_id, segment.date)
        held = [each for each in found if each.partition == segment.partition]
        offsets = table.column("offset").to_numpy()
        size = 0
        for absent in absent_ranges(held, segment.first, segment.last):
            begin, end = np.searchsorted(offsets, (absent.start, absent.stop)).tolist()
            if begin < end:
                part = replace(segment, first=absent.start, last=int(offsets[end - 1]))
                size += self.write(part, table.slice(begin, end - begin))
        return size

    def erasures(self) -> dict[str, Erasure | None]:
        """Return all erasures by id, None for those that are complete, as of now."""
        done, pending = erasure_ids(self.storage.files(DIRECTORY))
        found: dict[str, Erasure | None] = dict.fromkeys(done)
        for name in pending:
            try:
                data = self.storage.read(erasure_path(name))
            except FileNotFoundError:  # completed meanwhile
                found[name] = None
            else:
                found[name] = Erasure.model_validate_json(data)
        self._erasures = found
        return found

    def put_erasure(self, erasure: Erasure) -> None:
        """Write an erasure: from now on its rows are erased from what is read and written."""
        self.storage.write(erasure.path, erasure.model_dump_json().encode())

    def complete_erasure(self, erasure_id: str) -> None:
        """Note that no segment has rows of an erasure any more."""
        self.storage.write(erasure_path(erasure_id, done=True), b"")
        self.storage.remove(erasure_path(erasure_id))

    def require_same_erasures(self) -> None:
        """Raise ``UserErasedError`` if an erasure began since the segments were listed."""
        listed = _begun(self._erasures)
        if _begun(self.erasures()) != listed:
            raise UserErasedError(self.url)

    @property
    def pending_erasures(self) -> list[Erasure]:
        """The erasures that were not complete when they, or segments, were last listed."""
        return [each for each in self._erasures.values() if each is not None]

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
        self.erasures()
        files = self.storage.files(topic)
        accepted = (parse_accepted(topic, path) for path in files)
        return cover(_segments(topic, files), (each for each in accepted if each is not None))

    def accept(self, topic: str, topic_id: bytes, gap: Gap) -> None:
        """Mark a gap as accepted: the rest is read without an error from now on."""
        note = {"accepted_at": datetime.now(UTC).isoformat(timespec="seconds"), "records": gap.records}
        self.storage.write(accepted_path(topic, topic_id, gap), json.dumps(note).encode())

    def read(self, part: Part, *, to_rewrite: bool = False) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a part of a segment, in offset order, without what is erased since it was listed.

        Columns of later versions are left out; with ``to_rewrite``, which would lose them, they are an error.

        Raises:
            SegmentGoneError: A compaction has replaced the segment since it was listed.
            CorruptSegmentError: The segment ends elsewhere than its name says, or is no such Parquet file.
        """
        location = self.storage.location(part.segment.path)
        expected = part.segment.first
        schema = schema_of(part.segment.topic)
        for read in self._batches(part.segment, location, None if to_rewrite else schema.names):
            batch = _with_all_columns(read, schema)
            offsets = batch.column("offset").to_numpy()
            if not _ascend(offsets, expected):
                raise CorruptSegmentError(location, f"the offsets from {expected:,} on are not in order")
            skipped = int(np.searchsorted(offsets, part.first))
            expected = int(offsets[-1]) + 1
            if skipped < len(offsets):
                yield erase(batch.slice(skipped), part.segment.topic, self.pending_erasures)
        if expected != part.segment.last + 1:
            raise CorruptSegmentError(location, f"ends before offset {expected:,}")

    def matching_rows(
        self, segment: Segment, erasures: Sequence[Erasure]
    ) -> Iterator[tuple[Erasure, pa.RecordBatch]]:
        """Yield the rows of a segment's file that erasures erase, by erasure and batch, without most columns.

        It raises ``SegmentGoneError`` if a compaction has replaced it.
        """
        content = ("event_id", "timestamp") if segment.topic == EVENTS.name else ()
        columns = ["user_id", *content, *(field.name for field in (*POSITION_FIELDS, *REJECTED_FIELDS))]
        for batch in self._batches(segment, self.storage.location(segment.path), columns):
            for erasure in relevant(batch, erasures):
                mask = matching_rows(batch, segment.topic, erasure)
                if pa.compute.any(mask).as_py():
                    yield erasure, batch.filter(mask)

    def _batches(
        self, segment: Segment, location: str, columns: list[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        try:
            with self.storage.open(segment.path) as opened, convert_errors("read", location):
                file = pq.ParquetFile(opened)
                schema, written = schema_of(segment.topic), file.schema_arrow
                kept = pa.schema([f for f in written if columns is None or f.name in schema.names])
                if not kept.equals(
                    pa.schema([f for f in schema if f != POSTED_BY or f.name in written.names])
                ):
                    raise CorruptSegmentError(location, "has other columns than this version writes")
                yield from file.iter_batches(_BATCH_ROWS, columns=columns)
        except FileNotFoundError as error:
            raise SegmentGoneError(location) from error
        except pa.ArrowInvalid as error:
            raise CorruptSegmentError(location, f"is no Parquet file: {error}") from error

    def _listed(self, topic: str, directory: str) -> list[Segment]:
        self.erasures()
        return _segments(topic, self.storage.files(directory))


def _begun(erasures: Mapping[str, Erasure | None]) -> set[str]:
    """Return the erasures of which rows may be erased from the files."""
    return {name for name, each in erasures.items() if each is None or each.topic_id is not None}


def _with_all_columns(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if batch.num_columns == len(schema):
        return batch
    there = set(batch.schema.names)
    arrays = [batch.column(f.name) if f.name in there else pa.nulls(len(batch), f.type) for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


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
