"""Paths in the offline store, and which segments to read so that every record comes once.

::

    <url>/<topic>/<topic id>/date=2026-11-23/p00003-00000000000000120000-00000000000000129999.parquet

A segment holds the records of a contiguous range of offsets of one partition, named by partition, first and last
offset, both included. Offsets without a record, such as transaction markers, belong to the range of the record after
them. The date is that of the first record's log timestamp, in UTC: the day on which it was appended, not the day of the
event, so that a late event never changes the segments of an earlier day.

::

    <url>/<topic>/<topic id>/accepted/p00003-00000000000000120000-00000000000000129999.json

marks these missing offsets as accepted: the rest is read without an error.
"""

import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from reprise.runtime.durations import EPOCH

_TOPIC_ID = r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_OFFSETS = r"p(\d{5,10})-(\d{20})-(\d{20})"
_PATH = re.compile(rf"{_TOPIC_ID}/date=(\d{{4}}-\d\d-\d\d)/{_OFFSETS}\.parquet", re.ASCII)
_ACCEPTED = re.compile(rf"{_TOPIC_ID}/accepted/{_OFFSETS}\.json", re.ASCII)


@dataclass(frozen=True, slots=True)
class Segment:
    """A file with the records of one partition from offset ``first`` to ``last``, included.

    ``topic_id`` has the 16 bytes of the topic's incarnation; ``date`` is the day, in UTC, of the first record's append.
    """

    topic: str
    topic_id: bytes
    date: date
    partition: int
    first: int
    last: int

    @property
    def records(self) -> int:
        """The number of offsets: that of records, and of offsets without one."""
        return self.last - self.first + 1

    @property
    def path(self) -> str:
        """Its path under the store's URL."""
        directory = date_directory(self.topic, self.topic_id, self.date)
        return f"{directory}/{_offsets_name(self.partition, self.first, self.last)}.parquet"


@dataclass(frozen=True, slots=True)
class Part:
    """The records of a segment from offset ``first``: those that no segment before it has."""

    segment: Segment
    first: int

    @property
    def records(self) -> int:
        """The number of records."""
        return self.segment.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing offsets before archived ones, ``last`` included."""

    partition: int
    first: int
    last: int

    def __str__(self) -> str:
        """Return the offsets as text."""
        return f"partition {self.partition}, offsets {self.first:,} to {self.last:,}"

    @property
    def records(self) -> int:
        """The number of offsets."""
        return self.last - self.first + 1

    def is_within(self, other: "Gap") -> bool:
        """Tell whether another gap includes all of these offsets."""
        return self.partition == other.partition and other.first <= self.first and self.last <= other.last


@dataclass(frozen=True, slots=True)
class Coverage:
    """The records of one incarnation of a topic in the store."""

    topic_id: bytes  # The 16 bytes of the incarnation
    parts: dict[
        int, tuple[Part, ...]
    ]  # To read so that every record comes once, by partition, in offset order
    gaps: tuple[Gap, ...]  # Missing offsets that were not accepted
    accepted: tuple[Gap, ...] = ()  # Missing offsets that were accepted

    @property
    def last_offsets(self) -> dict[int, int]:
        """The highest archived offset by partition."""
        return {partition: parts[-1].segment.last for partition, parts in self.parts.items()}

    @property
    def records(self) -> int:
        """The number of records, each counted once."""
        return sum(part.records for parts in self.parts.values() for part in parts)


def date_directory(topic: str, topic_id: bytes, day: date) -> str:
    """Return the directory of the segments of a day."""
    return f"{topic}/{uuid.UUID(bytes=topic_id)}/date={day.isoformat()}"


def log_date(timestamp_ms: int) -> date:
    """Return the day, in UTC, of a log timestamp in milliseconds since 1970-01-01."""
    return (EPOCH + timedelta(milliseconds=timestamp_ms)).date()


def parse_path(topic: str, path: str) -> Segment | None:
    """Return the segment at a path under the store's URL, ``None`` for another file."""
    found = _PATH.fullmatch(path.removeprefix(f"{topic}/"))
    if found is None:
        return None
    topic_id, day, partition, first, last = found.groups()
    try:
        identity, day_appended = uuid.UUID(topic_id).bytes, date.fromisoformat(day)
        segment = Segment(topic, identity, day_appended, int(partition), int(first), int(last))
    except ValueError:
        return None
    return segment if segment.first <= segment.last else None


def accepted_path(topic: str, topic_id: bytes, gap: Gap) -> str:
    """Return the path of the file that marks a gap as accepted."""
    name = _offsets_name(gap.partition, gap.first, gap.last)
    return f"{topic}/{uuid.UUID(bytes=topic_id)}/accepted/{name}.json"


def parse_accepted(topic: str, path: str) -> tuple[bytes, Gap] | None:
    """Return the incarnation and the gap that a file marks as accepted, ``None`` for another file."""
    found = _ACCEPTED.fullmatch(path.removeprefix(f"{topic}/"))
    if found is None:
        return None
    topic_id, partition, first, last = found.groups()
    return uuid.UUID(topic_id).bytes, Gap(int(partition), int(first), int(last))


def cover(segments: Iterable[Segment], accepted: Iterable[tuple[bytes, Gap]] = ()) -> list[Coverage]:
    """Return the parts of a topic's segments to read so that every record comes once, by incarnation.

    Segments overlap during a compaction and after one that was stopped. The segment that begins first is read, the
    longest of those that begin together, and of each next one the rest. ``accepted`` are incarnations and gaps.
    """
    known = list(accepted)
    grouped: dict[bytes, dict[int, list[Segment]]] = {}
    for segment in segments:
        grouped.setdefault(segment.topic_id, {}).setdefault(segment.partition, []).append(segment)
    coverages = []
    for topic_id, partitions in sorted(grouped.items()):
        parts: dict[int, tuple[Part, ...]] = {}
        gaps: list[Gap] = []
        for partition, found in sorted(partitions.items()):
            parts[partition], missing = _cover_partition(found)
            gaps.extend(missing)
        agreed = tuple(
            gap for gap in gaps if any(owner == topic_id and gap.is_within(one) for owner, one in known)
        )
        missed = tuple(gap for gap in gaps if gap not in agreed)
        coverages.append(Coverage(topic_id, parts, missed, agreed))
    return coverages


def absent_ranges(segments: Iterable[Segment], first: int, last: int) -> list[range]:
    """Return the offsets from ``first`` to ``last``, included, that no segment of a partition holds."""
    found = []
    for segment in sorted((s for s in segments if s.first <= last), key=lambda s: s.first):
        if segment.first > first:
            found.append(range(first, segment.first))
        first = max(first, segment.last + 1)
    return [*found, range(first, last + 1)] if first <= last else found


def _offsets_name(partition: int, first: int, last: int) -> str:
    return f"p{partition:05d}-{first:020d}-{last:020d}"


def _cover_partition(segments: Sequence[Segment]) -> tuple[tuple[Part, ...], list[Gap]]:
    parts: list[Part] = []
    gaps: list[Gap] = []
    next_offset = 0
    for segment in sorted(segments, key=lambda s: (s.first, -s.last, s.date)):
        if segment.last < next_offset:
            continue
        if segment.first > next_offset:
            gaps.append(Gap(segment.partition, next_offset, segment.first - 1))
        parts.append(Part(segment, max(segment.first, next_offset)))
        next_offset = segment.last + 1
    return tuple(parts), gaps
