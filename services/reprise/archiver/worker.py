"""The loop of one topic: poll, gather each partition's records, write whole segments, commit.

What is gathered but not written is forgotten when a partition goes, or the process ends: its offsets are not
committed, so whoever reads the partition next gathers it anew, and cuts it at the same places.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from reprise.archive import OfflineStore, Segment, archive_table, log_date
from reprise.archiver.metrics import ArchiverMetrics
from reprise.archiver.rotation import CutRule, OpenSegment
from reprise.log import (
    EventLogError,
    LogConsumer,
    LogUnavailableError,
    NotAssignedError,
    OffsetOutOfRangeError,
    Record,
)
from reprise.runtime.logs import get_logger
from reprise.runtime.storage import StorageUnavailableError

_log = get_logger(__name__)
ASSIGNMENT_SECONDS = 30.0
"""How long a worker that is to end when idle waits for its first partitions."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much the worker takes at a time, and how long it waits."""

    batch_records: int
    poll_seconds: float
    retry_seconds: float
    grace_seconds: float


class Assignments:
    """Notes which partitions a rebalance moves; the worker looks at it after each poll."""

    def __init__(self) -> None:
        self.moved: set[int] = set()

    def revoked(self, partitions: Sequence[int]) -> None:
        """Note partitions that go, perhaps to come back at once."""
        self.moved.update(partitions)

    def assigned(self, partitions: Sequence[int]) -> None:
        """Note partitions that come."""
        self.moved.update(partitions)


class Worker:
    """Archives one topic until it is told to stop.

    Args:
        topic: Name of the topic.
        consumer: What reads it.
        assignments: The consumer's rebalance listener.
        store: Where to.
        rule: Where partitions are cut.
        pace: How much at a time.
        metrics: What is counted.
        now_ms: The clock that the log's timestamps are from, milliseconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        topic: str,
        consumer: LogConsumer,
        assignments: Assignments,
        store: OfflineStore,
        rule: CutRule,
        pace: Pace,
        metrics: ArchiverMetrics,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.topic = topic
        self._problem: str | None = "nothing was polled yet"
        self._consumer = consumer
        self._assignments = assignments
        self._store = store
        self._rule = rule
        self._pace = pace
        self._metrics = metrics
        self._now_ms = now_ms
        self._open: dict[int, OpenSegment] = {}
        self._begun: set[int] = set()
        self._unsure: set[int] = set()
        self._unread = 0
        self._deleted_until: dict[int, int] = {}
        metrics.begin(topic)

    @property
    def problem(self) -> str | None:
        """Why nothing is archived now, or not all that should be; ``None`` when nothing is known to be wrong."""
        if self._deleted_until:
            return (
                f"the log has deleted records of partitions {sorted(self._deleted_until)} before they were archived;"
                " the group has to be told from which offset to go on"
            )
        return self._problem

    def run(self, stop: threading.Event) -> None:
        """Archive until ``stop`` is set; the segment being written is finished.

        A partition whose next records were deleted is not read on: a hole in the archive is for people to decide on.

        Raises:
            OffsetOutOfRangeError: A partition ends before what was read of it.
        """
        while not stop.is_set():
            try:
                self._step(stop, self._pace.poll_seconds)
            except OffsetOutOfRangeError as error:
                self._stand_before_hole(stop, error)

    def run_until_idle(self, stop: threading.Event, idle_seconds: float) -> None:
        """Archive until everything is read and nothing has come for a while, then end every segment as it is.

        It has not been read before partitions were assigned, which takes as long as the group needs to notice
        that its former consumers are gone; after ``ASSIGNMENT_SECONDS`` without any, others hold them all.

        Raises:
            OffsetOutOfRangeError: The log has not, or no longer, what is to be archived next.
        """
        started = last = time.monotonic()
        while not stop.is_set() and time.monotonic() - last < idle_seconds:
            came = self._step(stop, min(self._pace.poll_seconds, idle_seconds))
            unassigned = not self._consumer.assignment and time.monotonic() - started < ASSIGNMENT_SECONDS
            if came or unassigned or self.problem is not None or self._unread:
                last = time.monotonic()
        self._end_read(set(self._open), stop)

    def _step(self, stop: threading.Event, poll_seconds: float) -> int:
        """Poll once, gather what came, write what is whole; return the number of records."""
        try:
            polled = self._consumer.poll(self._pace.batch_records, poll_seconds)
        except LogUnavailableError as error:
            self._metrics.event_log.failed(error)
            self._wait(stop, error)
            self._note_rebalance()
            return 0
        self._note_rebalance()
        for partition, records in polled.items():
            for record in records:
                self._gather(partition, record, stop)
        self._end_windows(stop)
        self._observe()
        return sum(len(records) for records in polled.values())

    def _note_rebalance(self) -> None:
        """Keep what was gathered of partitions that moved: the next record tells whether it goes on there.

        A partition that comes back may be read from the committed offset, or, where Kafka's client has kept
        its place, from where it was: forgetting what was gathered would lose that.
        """
        moved, self._assignments.moved = self._assignments.moved, set()
        self._unsure.update(moved & self._open.keys())
        self._begun.difference_update(moved)

    def _forget(self, partition: int) -> None:
        self._open.pop(partition, None)
        self._begun.discard(partition)
        self._unsure.discard(partition)

    def _gather(self, partition: int, record: Record, stop: threading.Event) -> None:
        if stop.is_set():
            return
        gathered = self._open.get(partition)
        if gathered is not None and self._is_elsewhere(partition, gathered.next_offset, record.offset):
            self._forget(partition)
            gathered = None
        if gathered is not None and gathered.ends_before(record):
            self._note_lost(partition, gathered.next_offset, record.offset)
            self._settle(partition, stop)
            gathered = None
        if stop.is_set() or partition not in self._consumer.assignment:
            return
        if gathered is None:
            gathered = OpenSegment(self._rule, record, self._written_before(partition, record, stop))
            self._open[partition] = gathered
        else:
            gathered.add(record)
        if gathered.is_full:
            self._settle(partition, stop)

    def _is_elsewhere(self, partition: int, expected: int, found: int) -> bool:
        """Tell whether the log is read on from a committed offset, which is where a segment begins.

        After a rebalance that may be an earlier one, or a later one that another archiver has committed.
        """
        moved = partition in self._unsure
        self._unsure.discard(partition)
        return found < expected or (moved and found > expected)

    def _written_before(self, partition: int, first: Record, stop: threading.Event) -> int | None:
        """Return where the segment that begins here ends if it was written, but not committed, before.

        Only the first segment after a partition is assigned can have been: each is committed before the next
        is begun.
        """
        if partition in self._begun:
            return None
        day = log_date(first.timestamp_ms)
        while not stop.is_set():
            try:
                with self._metrics.offline_store.timed():
                    found = self._store.segments_of_day(self.topic, self._consumer.topic_id, day)
            except StorageUnavailableError as error:
                self._wait(stop, error)
                continue
            self._begun.add(partition)
            ends = [s.last for s in found if (s.partition, s.first) == (partition, first.offset)]
            return min(ends, default=None)
        return None

    def _settle(self, partition: int, stop: threading.Event) -> None:
        """Write and commit a partition's segment, however often it takes, unless told to stop."""
        while not self._write(partition, self._open[partition].records):
            if stop.is_set():
                break
            stop.wait(self._pace.retry_seconds)
        self._open.pop(partition, None)
        self._unsure.discard(partition)

    def _write(self, partition: int, records: Sequence[Record]) -> bool:
        """Write and commit a segment; return whether that is settled."""
        started = time.perf_counter()
        segment = Segment(
            self.topic,
            self._consumer.topic_id,
            log_date(records[0].timestamp_ms),
            partition,
            records[0].offset,
            records[-1].offset,
        )
        table = archive_table(self.topic, segment.topic_id, records)
        try:
            with self._metrics.offline_store.timed():
                size = self._store.write(segment, table)
            with self._metrics.event_log.timed():
                self._consumer.commit({partition: segment.last + 1})
        except NotAssignedError as error:
            _log.warning("segment_not_committed", reason=str(error), segment=segment.path)
            self._begun.discard(partition)
            return True
        except (StorageUnavailableError, LogUnavailableError) as error:
            self._note(error)
            return False
        rejected = segment.records - table.column("problem").null_count
        self._metrics.records.labels(self.topic, "rejected").inc(rejected)
        self._metrics.records.labels(self.topic, "archived").inc(segment.records - rejected)
        self._metrics.segments.labels(self.topic).inc()
        self._metrics.written_bytes.labels(self.topic).inc(size)
        self._metrics.write.observe(time.perf_counter() - started)
        self._problem = None
        return True

    def _end_windows(self, stop: threading.Event) -> None:
        """End the segments whose window is over and to which nothing more that the log holds belongs."""
        now = self._now_ms() - int(self._pace.grace_seconds * 1_000)
        self._end_read({p for p, gathered in self._open.items() if gathered.window_end_ms <= now}, stop)

    def _end_read(self, partitions: AbstractSet[int], stop: threading.Event) -> None:
        """End the segments of these partitions that have all that the log holds."""
        if not partitions:
            return
        try:
            ends, positions = self._consumer.end_offsets(), self._consumer.positions()
        except EventLogError as error:
            self._metrics.event_log.failed(error)
            self._wait(stop, error)
            return
        for partition in sorted(partitions & ends.keys()):
            position = positions.get(partition)
            is_sure = partition not in self._unsure or position == self._open[partition].next_offset
            if is_sure and position == ends[partition]:
                self._settle(partition, stop)

    def _note_lost(self, partition: int, expected: int, found: int) -> None:
        if found > expected:
            _log.error("records_lost", topic=self.topic, partition=partition, first=expected, last=found - 1)
            self._metrics.lost.labels(self.topic).inc(found - expected)

    def _stand_before_hole(self, stop: threading.Event, error: OffsetOutOfRangeError) -> None:
        """Note which partitions begin after what is to be read of them, and wait; the others are read on.

        What was gathered of them before is written at once: it is nowhere else any more.
        """
        self._note_rebalance()
        try:
            begins, positions = self._consumer.beginning_offsets(), self._consumer.positions()
        except LogUnavailableError as unavailable:
            self._metrics.event_log.failed(unavailable)
            self._wait(stop, unavailable)
            return
        deleted = _before(positions, begins)
        if not deleted:
            raise error
        self._deleted_until.update(deleted)
        self._show_missing(positions)
        for partition in sorted(deleted.keys() & self._open.keys()):
            if self._open[partition].next_offset == positions[partition]:
                self._settle(partition, stop)
        _log.error("records_deleted", topic=self.topic, partitions=sorted(deleted), reason=str(error))
        stop.wait(self._pace.retry_seconds)

    def _show_missing(self, positions: Mapping[int, int]) -> None:
        """Show how many records are missing where partitions stand before a hole, and forget those that do not."""
        self._deleted_until = _before(positions, self._deleted_until)
        missing = sum(begin - positions[p] for p, begin in self._deleted_until.items())
        self._metrics.missing.labels(self.topic).set(missing)

    def _wait(self, stop: threading.Event, error: Exception) -> None:
        self._note(error)
        stop.wait(self._pace.retry_seconds)

    def _note(self, error: Exception) -> None:
        self._problem = str(error)
        _log.warning("archiving_delayed", topic=self.topic, reason=str(error), error=type(error).__name__)

    def _observe(self) -> None:
        held = self._consumer.assignment
        waiting = sum(len(gathered.records) for p, gathered in self._open.items() if p in held)
        self._metrics.waiting.labels(self.topic).set(waiting)
        try:
            ends, positions = self._consumer.end_offsets(), self._consumer.positions()
        except EventLogError as error:
            self._metrics.event_log.failed(error)
            _log.warning("lag_unknown", topic=self.topic, reason=str(error))
            return
        self._show_missing(positions)
        lags = {partition: end - positions.get(partition, end) for partition, end in ends.items()}
        self._metrics.show_lag(self.topic, lags)
        self._unread = sum(lags.values())
        self._problem = None


def _before(positions: Mapping[int, int], begins: Mapping[int, int]) -> dict[int, int]:
    """Return the beginnings of those partitions whose position lies before it."""
    return {
        partition: begin for partition, begin in begins.items() if positions.get(partition, begin) < begin
    }
