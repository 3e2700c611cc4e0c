"""Compaction: few large segments instead of many small ones.

Contiguous segments of one partition and one day become one. The merged segment is written before its sources are
deleted. Readers that see both use the longer one. Compacting again finishes what a crash interrupted: a merged segment
beside all its sources is merged again, since a user may have been erased from the sources meanwhile.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from reprise.archive.layout import Gap, Part, Segment, absent_ranges, cover
from reprise.archive.offline_store import OfflineStore
from reprise.archive.records import ROW_GROUP_ROWS, open_writer, schema_of


@dataclass(frozen=True)
class CompactionReport:
    """The numbers of segments written and removed."""

    written: int
    removed: int


def compact(
    store: OfflineStore,
    topic: str,
    *,
    before: date,
    max_records: int = 5_000_000,
    advance: Callable[[int], object] = lambda _: None,
) -> CompactionReport:
    """Compact the days of a topic before a day.

    No segment gets more than ``max_records``, unless one has more already. ``advance`` is called with the number of
    records written since the last call.

    Raises:
        CorruptSegmentError: A segment does not match its name; it was not removed.
        StorageUnavailableError: The storage failed; compacting again is safe.
    """
    written = removed = 0
    eligible = [segment for segment in store.segments(topic) if segment.date < before]
    for _, group in groupby(sorted(eligible, key=_position), key=lambda s: _position(s)[:3]):
        segments = list(group)
        sources = _sources(segments)
        runs = list(_runs(sources, max_records))
        for run in runs:
            target = _merged(run)
            if target not in sources:
                _merge(store, run, target)
                written += 1
                advance(target.records)
        kept = {_merged(run) for run in runs}
        for segment in segments:
            if segment not in kept:
                store.remove(segment)
                removed += 1
    return CompactionReport(written, removed)


def _position(segment: Segment) -> tuple[bytes, date, int, int]:
    return segment.topic_id, segment.date, segment.partition, segment.first


def _sources(segments: Sequence[Segment]) -> Sequence[Segment]:
    """Return the segments without those of which others hold all offsets, the longest left out first."""
    (coverage,) = cover(segments)
    sources = segments
    if coverage.records == sum(segment.records for segment in segments):
        return sources
    for segment in sorted(segments, key=lambda s: s.records, reverse=True):
        others = [each for each in sources if each != segment]
        if not absent_ranges(others, segment.first, segment.last):
            sources = others
    return sources


def _runs(segments: Sequence[Segment], max_records: int) -> Iterator[list[Part]]:
    (coverage,) = cover(segments)
    (parts,) = coverage.parts.values()
    run: list[Part] = []
    for part in parts:
        follows = bool(run) and part.first == run[-1].segment.last + 1
        if run and (not follows or part.segment.last - run[0].first >= max_records):
            yield run
            run = []
        run.append(part)
    yield run


def _merged(run: Sequence[Part]) -> Segment:
    first, last = run[0].segment, run[-1].segment
    return Segment(first.topic, first.topic_id, first.date, first.partition, run[0].first, last.last)


def _merge(store: OfflineStore, run: Sequence[Part], target: Segment) -> None:
    versions: Sequence[str | None] = ()
    uploaded = False
    with TemporaryDirectory(prefix="reprise-compaction-") as folder:
        path = Path(folder) / "segment.parquet"
        while True:
            # a user may be erased from the sources while they are read: then they are merged again
            if versions != (versions := [store.storage.version(part.segment.path) for part in run]):
                store.erasures()
                _write(store, run, path)
                uploaded = False
            elif uploaded:
                return
            else:
                store.storage.write(target.path, path)
                uploaded = True


def expire(store: OfflineStore, topic: str, *, before: date) -> int:
    """Remove a topic's segments of the days before a day, and return how many; the last of a partition stays.

    Their offsets become an accepted gap. A partition whose first offsets are missing and not accepted is left alone.

    Raises:
        StorageUnavailableError: The storage failed; expiring again is safe.
    """
    removed = 0
    unaccepted = {
        (c.topic_id, gap.partition) for c in store.coverage(topic) for gap in c.gaps if gap.first == 0
    }
    ordered = sorted(store.segments(topic), key=lambda s: (s.topic_id, s.partition, s.first))
    for (topic_id, partition), group in groupby(ordered, key=lambda s: (s.topic_id, s.partition)):
        segments = list(group)
        kept = min((s.first for s in segments if s.date >= before), default=segments[-1].first)
        expired = [s for s in segments if s.last < kept]
        if not expired or (topic_id, partition) in unaccepted:
            continue
        store.accept(topic, topic_id, Gap(partition, 0, kept - 1))
        for segment in expired:
            store.remove(segment)
        removed += len(expired)
    return removed


def rewrite(store: OfflineStore, segment: Segment) -> None:
    """Replace a segment by its rows without what is erased; raises ``SegmentGoneError`` if it was replaced."""
    with TemporaryDirectory(prefix="reprise-rewrite-") as folder:
        path = Path(folder) / "segment.parquet"
        _write(store, [Part(segment, segment.first)], path)
        store.storage.write(segment.path, path)


def _write(store: OfflineStore, run: Sequence[Part], path: Path) -> None:
    with open_writer(path, schema_of(run[0].segment.topic)) as writer:
        for group in _row_groups(batch for part in run for batch in store.read(part, to_rewrite=True)):
            writer.write_table(group, ROW_GROUP_ROWS)


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield the rows in tables of at least a row group: each table that is written ends a row group."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= ROW_GROUP_ROWS:
            yield pa.Table.from_batches(waiting)
            waiting, rows = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting)
