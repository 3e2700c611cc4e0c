"""Where a stretch of the log lies in the offline store.

::

    <url>/<topic>/<topic id>/date=2026-11-23/p00003-00000000000000120000-00000000000000129999.parquet

A segment is a stretch of one partition without holes, and its name says which: partition, first and last
offset, both included. The date is that of the first record's log timestamp, in UTC: the day on which it was
appended, not the day on which the event happened, so that a late event never touches a day that is settled.

::

    <url>/<topic>/<topic id>/accepted/p00003-00000000000000120000-00000000000000129999.json

says that somebody knows of these missing offsets, and that what there is is to be read all the same.
"""

import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOPIC_ID = r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_STRETCH = r"p(\d{5,10})-(\d{20})-(\d{20})"
_PATH = re.compile(rf"{_TOPIC_ID}/date=(\d{{4}}-\d\d-\d\d)/{_STRETCH}\.parquet", re.ASCII)
_ACCEPTED = re.compile(rf"{_TOPIC_ID}/accepted/{_STRETCH}\.json", re.ASCII)


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of one partition, and where it lies.

    Attributes:
        topic: Name of the topic.
        topic_id: The 16 bytes that identify the topic's incarnation.
        date: The day, in UTC, on which the first record was appended.
        partition: The partition.
        first: Offset of the first record.
        last: Offset of the last record, included.
    """

    topic: str
    topic_id: bytes
    date: date
    partition: int
    first: int
    last: int

    @property
    def records(self) -> int:
        """How many records it holds."""
        return self.last - self.first + 1

    @property
    def path(self) -> str:
        """Its path under the store's URL."""
        return f"{self.directory}/{_stretch(self.partition, self.first, self.last)}.parquet"

    @property
    def directory(self) -> str:
        """The path of the folder of its date."""
        return date_directory(self.topic, self.topic_id, self.date)


@dataclass(frozen=True, slots=True)
class Part:
    """What to read of a segment: the offsets that no segment before it has."""

    segment: Segment
    first: int

    @property
    def records(self) -> int:
        """How many records that is."""
        return self.segment.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Hole:
    """Offsets that are missing although later ones are there, ``last`` included."""

    partition: int
    first: int
    last: int

    def __str__(self) -> str:
        """Say which offsets."""
        return f"partition {self.partition}, offsets {self.first:,} to {self.last:,}"

    @property
    def records(self) -> int:
        """How many offsets these are."""
        return self.last - self.first + 1

    def is_within(self, other: "Hole") -> bool:
        """Tell whether another one has all of these offsets."""
        return self.partition == other.partition and other.first <= self.first and self.last <= other.last


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the store holds of one incarnation of a topic.

    Attributes:
        topic_id: The 16 bytes of the incarnation.
        parts: What to read so that every record comes once, by partition, in offset order.
        holes: What is missing between, and before the first, and was not accepted.
        accepted: What is missing and was accepted.
    """

    topic_id: bytes
    parts: dict[int, tuple[Part, ...]]
    holes: tuple[Hole, ...]
    accepted: tuple[Hole, ...] = ()

    @property
    def last_offsets(self) -> dict[int, int]:
        """The highest archived offset by partition."""
        return {partition: parts[-1].segment.last for partition, parts in self.parts.items()}

    @property
    def records(self) -> int:
        """How many records the store holds, each counted once."""
        return sum(part.records for parts in self.parts.values() for part in parts)


def date_directory(topic: str, topic_id: bytes, day: date) -> str:
    """Return the path of the folder that holds the segments of a day."""
    return f"{topic}/{uuid.UUID(bytes=topic_id)}/date={day.isoformat()}"


def log_date(timestamp_ms: int) -> date:
    """Return the day, in UTC, of a log timestamp in milliseconds since 1970-01-01."""
    return (_EPOCH + timedelta(milliseconds=timestamp_ms)).date()


def parse_path(topic: str, path: str) -> Segment | None:
    """Return the segment at a path under the store's URL, ``None`` where the path is that of none."""
    found = _PATH.fullmatch(path.removeprefix(f"{topic}/"))
    if found is None:
        return None
    topic_id, day, partition, first, last = found.groups()
    try:
        segment = Segment(
            topic=topic,
            topic_id=uuid.UUID(topic_id).bytes,
            date=date.fromisoformat(day),
            partition=int(partition),
            first=int(first),
            last=int(last),
        )
    except ValueError:
        return None
    return segment if segment.first <= segment.last else None


def accepted_path(topic: str, topic_id: bytes, hole: Hole) -> str:
    """Return the path of the file that says that a hole is accepted."""
    name = _stretch(hole.partition, hole.first, hole.last)
    return f"{topic}/{uuid.UUID(bytes=topic_id)}/accepted/{name}.json"


def parse_accepted(topic: str, path: str) -> tuple[bytes, Hole] | None:
    """Return the incarnation and the hole whose acceptance lies at a path, ``None`` where the path is that of none."""
    found = _ACCEPTED.fullmatch(path.removeprefix(f"{topic}/"))
    if found is None:
        return None
    topic_id, partition, first, last = found.groups()
    return uuid.UUID(topic_id).bytes, Hole(int(partition), int(first), int(last))


def cover(segments: Iterable[Segment], accepted: Iterable[tuple[bytes, Hole]] = ()) -> list[Coverage]:
    """Return what to read of these segments so that every record comes once, by incarnation.

    Args:
        segments: All of a topic's.
        accepted: Incarnations and holes that are known and accepted.

    Segments overlap while a compaction is under way, and after one that was stopped. Where they do, the one
    that begins first is read, and of those that begin together the longest; of the next, the rest.
    """
    known = list(accepted)
    grouped: dict[bytes, dict[int, list[Segment]]] = {}
    for segment in segments:
        grouped.setdefault(segment.topic_id, {}).setdefault(segment.partition, []).append(segment)
    coverages = []
    for topic_id, partitions in sorted(grouped.items()):
        parts: dict[int, tuple[Part, ...]] = {}
        holes: list[Hole] = []
        for partition, found in sorted(partitions.items()):
            parts[partition], missing = _cover_partition(found)
            holes.extend(missing)
        agreed = tuple(
            hole for hole in holes if any(owner == topic_id and hole.is_within(one) for owner, one in known)
        )
        missed = tuple(hole for hole in holes if hole not in agreed)
        coverages.append(Coverage(topic_id, parts, missed, agreed))
    return coverages


def _stretch(partition: int, first: int, last: int) -> str:
    """Return how file names say which offsets of which partition."""
    return f"p{partition:05d}-{first:020d}-{last:020d}"


def _cover_partition(segments: Sequence[Segment]) -> tuple[tuple[Part, ...], list[Hole]]:
    parts: list[Part] = []
    holes: list[Hole] = []
    next_offset = 0
    for segment in sorted(segments, key=lambda s: (s.first, -s.last, s.date)):
        if segment.last < next_offset:
            continue
        if segment.first > next_offset:
            holes.append(Hole(segment.partition, next_offset, segment.first - 1))
        parts.append(Part(segment, max(segment.first, next_offset)))
        next_offset = segment.last + 1
    return tuple(parts), holes
