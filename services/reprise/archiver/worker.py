"""The archiver's loop for one topic: poll, collect records by partition, write complete segments, commit.

Collected records are dropped when their partition moves or the process ends. Their offsets are not committed, so the
partition's next consumer collects them again and splits them at the same offsets.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from reprise.archive import OfflineStore, Segment, archive_table, log_date
from reprise.archiver.metrics import ArchiverMetrics
from reprise.archiver.settings import ArchiverSettings
from reprise.log import (
    EventLogError,
    LogConsumer,
    LogUnavailableError,
    NotAssignedError,
    OffsetOutOfRangeError,
    Record,
    UnreadablePartitions,
    UnreadableRecordsError,
)
from reprise.log.idle import run_until_idle
from reprise.runtime.logs import get_logger
from reprise.runtime.storage import StorageUnavailableError

_log = get_logger(__name__)


class OpenSegment:
    """Records of one partition that will become one segment, whose end the log's content alone determines.

    A replay that starts at a segment's first record produces the same segments. A segment ends

    - before the next multiple of ``segment_records`` among the offsets,
    - once its keys and values reach ``segment_bytes``,
    - before a record whose log timestamp is in a later window than that of its first record,
    - before a gap in the offsets, other than those that hold no record: these belong to the record after them.

    With ``last_offset``, because the same segment was written before, it ends there or before a gap.

    Windows divide the day, so a segment belongs to one day. A record with a timestamp earlier than the segment's first
    record stays in the segment: timestamps that jump back and forth at the edge of a window do not create tiny
    segments.
    """

    def __init__(self, settings: ArchiverSettings, first: Record, last_offset: int | None = None) -> None:
        self.records = [first]
        window_ms = settings.window_seconds * 1_000
        self.window_end_ms = (first.timestamp_ms // window_ms + 1) * window_ms
        self._settings = settings
        self._last_offset = last_offset
        self._bytes = _size(first)

    @property
    def next_offset(self) -> int:
        """The offset after its last record."""
        return self.records[-1].offset + 1

    @property
    def is_full(self) -> bool:
        """Whether it ends with its last record."""
        if self._last_offset is not None:
            return self.next_offset > self._last_offset
        return (
            self.next_offset % self._settings.segment_records == 0
            or self._bytes >= self._settings.segment_bytes
        )

    def ends_before(self, record: Record) -> bool:
        """Return whether the record belongs to the next segment."""
        if record.offset - record.absent != self.next_offset:
            return True
        if self._last_offset is not None:
            return record.offset > self._last_offset
        size = self._settings.segment_records
        is_in_next = record.offset // size != self.records[0].offset // size
        return is_in_next or record.timestamp_ms >= self.window_end_ms

    def add(self, record: Record) -> None:
        """Append a record."""
        self.records.append(record)
        self._bytes += _size(record)


class RebalanceTracker:
    """Collects the partitions that rebalances revoke or assign; a revoked one may be assigned again at once."""

    def __init__(self) -> None:
        self.moved: set[int] = set()

    def assigned(self, partitions: Sequence[int]) -> None:
        """Add partitions, whose next owner reads from their committed offsets."""
        self.moved.update(partitions)

    revoked = assigned


class Worker:
    """Archives one topic until it is stopped.

    ``rebalances`` is the consumer's listener; ``now_ms`` is the clock of the log's timestamps, milliseconds since
    1970-01-01 UTC.
    """

    def __init__(
        self,
        topic: str,
        consumer: LogConsumer,
        rebalances: RebalanceTracker,
        store: OfflineStore,
        settings: ArchiverSettings,
        metrics: ArchiverMetrics,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.topic = topic
        self._problem: str | None = "nothing was polled yet"
        self._consumer = consumer
        self._rebalances = rebalances
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._now_ms = now_ms
        self._open: dict[int, OpenSegment] = {}
        # partitions whose first segment since their assignment has been looked up in the store
        self._looked_up: set[int] = set()
        self._unread = 0
        self._deleted_before: dict[int, int] = {}
        self._unreadable = UnreadablePartitions(lambda offsets: metrics.unreadable.show(offsets, topic))
        metrics.begin(topic)

    @property
    def problem(self) -> str | None:
        """Why nothing, or not everything, is being archived; ``None`` if there is no known problem."""
        if self._deleted_before:
            return (
                f"the log deleted records of partitions {sorted(self._deleted_before)} before they were archived;"
                " reset the group's offsets to continue"
            )
        return self._unreadable.problem or self._problem

    def run(self, stop: threading.Event) -> None:
        """Archive until ``stop`` is set; finishes the current segment.

        A partition whose next records were deleted or cannot be decoded is paused: an operator decides about a gap in
        the archive.

        Raises:
            OffsetOutOfRangeError: A partition ends before its committed offset.
        """
        while not stop.is_set():
            try:
                self._step(stop, self._settings.poll_seconds)
            except OffsetOutOfRangeError as error:
                self._pause_before_hole(stop, error)
            except UnreadableRecordsError as error:
                self._handle_rebalance()
                self._unreadable.add(error)
                if error.partition in self._open:
                    self._finish(error.partition, stop)

    def run_until_idle(self, stop: threading.Event, idle_seconds: float) -> None:
        """Archive until the lag is 0 and no record has come for ``idle_seconds``; then write all open segments.

        Raises:
            OffsetOutOfRangeError: The next records were deleted, or a partition ends before its committed offset.
            UnreadableRecordsError: Records cannot be decoded.
        """
        poll_seconds = min(self._settings.poll_seconds, idle_seconds)

        def step() -> bool:
            return self._step(stop, poll_seconds) > 0 or self.problem is not None or self._unread > 0

        run_until_idle(step, self._consumer, stop, idle_seconds)
        self._finish_fully_read(set(self._open), stop)

    def _step(self, stop: threading.Event, poll_seconds: float) -> int:
        """Poll once, collect the records, write complete segments; return the number of records."""
        try:
            polled = self._consumer.poll(self._settings.batch_records, poll_seconds)
        except LogUnavailableError as error:
            self._metrics.event_log.failed(error)
            self._delay(stop, error)
            self._handle_rebalance()
            return 0
        self._handle_rebalance()
        for partition, records in polled.items():
            for record in records:
                self._collect(partition, record, stop)
        now = self._now_ms() - int(self._settings.grace_seconds * 1_000)
        self._finish_fully_read(
            {p for p, segment in self._open.items() if segment.window_end_ms <= now}, stop
        )
        self._observe()
        return sum(len(records) for records in polled.values())

    def _handle_rebalance(self) -> None:
        moved, self._rebalances.moved = self._rebalances.moved, set()
        for partition in moved:
            self._open.pop(partition, None)
        self._looked_up.difference_update(moved)

    def _collect(self, partition: int, record: Record, stop: threading.Event) -> None:
        if stop.is_set():
            return
        segment = self._open.get(partition)
        if segment is not None and segment.ends_before(record):
            if lost := record.offset - record.absent - segment.next_offset:
                first, last = segment.next_offset, record.offset - record.absent - 1
                _log.error("records_lost", topic=self.topic, partition=partition, first=first, last=last)
                self._metrics.lost.labels(self.topic).inc(lost)
            self._finish(partition, stop)
            segment = None
        if stop.is_set() or partition not in self._consumer.assignment:
            return
        if segment is None:
            last_offset = self._last_offset_written_before(partition, record, stop)
            segment = self._open[partition] = OpenSegment(self._settings, record, last_offset)
        else:
            segment.add(record)
        if segment.is_full:
            self._finish(partition, stop)

    def _last_offset_written_before(self, partition: int, first: Record, stop: threading.Event) -> int | None:
        """Return the last offset of the segment that starts here if it was written, but not committed, before.

        Only the first segment after an assignment can have been: a segment is committed before the next one starts.
        """
        if partition in self._looked_up:
            return None
        day = log_date(first.timestamp_ms)
        while not stop.is_set():
            try:
                with self._metrics.offline_store.timed():
                    found = self._store.segments_of_day(self.topic, self._consumer.topic_id, day)
            except StorageUnavailableError as error:
                self._delay(stop, error)
                continue
            self._looked_up.add(partition)
            ends = [
                s.last for s in found if (s.partition, s.first) == (partition, first.offset - first.absent)
            ]
            return min(ends, default=None)
        return None

    def _finish(self, partition: int, stop: threading.Event) -> None:
        """Write and commit a partition's segment; retries until ``stop`` is set."""
        while not self._write(partition, self._open[partition].records):
            if stop.is_set():
                break
            stop.wait(self._settings.retry_seconds)
        self._open.pop(partition, None)

    def _write(self, partition: int, records: Sequence[Record]) -> bool:
        """Write and commit a segment; return False if it has to be retried."""
        started = time.perf_counter()
        segment = Segment(
            self.topic,
            self._consumer.topic_id,
            log_date(records[0].timestamp_ms),
            partition,
            records[0].offset - records[0].absent,
            records[-1].offset,
        )
        table = archive_table(
            self.topic,
            segment.topic_id,
            records,
            self._settings.arrival_window,
            self._settings.kept_fields,
        )
        try:
            with self._metrics.offline_store.timed():
                size = self._store.write_absent(segment, table)
            with self._metrics.event_log.timed():
                self._consumer.commit({partition: segment.last + 1})
        except NotAssignedError as error:
            _log.warning("segment_not_committed", reason=str(error), segment=segment.path)
            self._looked_up.discard(partition)
            return True
        except (StorageUnavailableError, LogUnavailableError) as error:
            self._report_delay(error)
            return False
        rejected = table.num_rows - table.column("problem").null_count
        self._metrics.records.labels(self.topic, "rejected").inc(rejected)
        self._metrics.records.labels(self.topic, "archived").inc(table.num_rows - rejected)
        self._metrics.segments.labels(self.topic).inc()
        self._metrics.written_bytes.labels(self.topic).inc(size)
        self._metrics.write.observe(time.perf_counter() - started)
        self._problem = None
        return True

    def _finish_fully_read(self, partitions: AbstractSet[int], stop: threading.Event) -> None:
        if not partitions:
            return
        try:
            ends, positions = self._consumer.end_offsets(), self._consumer.positions()
        except EventLogError as error:
            self._metrics.event_log.failed(error)
            self._delay(stop, error)
            return
        for partition in sorted(partitions & ends.keys()):
            if positions.get(partition) == ends[partition]:
                self._finish(partition, stop)

    def _pause_before_hole(self, stop: threading.Event, error: OffsetOutOfRangeError) -> None:
        """Record which partitions have deleted records next, and wait; other partitions continue.

        Their collected records are written at once, since the log no longer has them.
        """
        self._handle_rebalance()
        try:
            beginnings, positions = self._consumer.beginning_offsets(), self._consumer.positions()
        except LogUnavailableError as unavailable:
            self._metrics.event_log.failed(unavailable)
            self._delay(stop, unavailable)
            return
        deleted = _deleted_before(positions, beginnings)
        if not deleted:
            raise error
        self._deleted_before.update(deleted)
        self._observe_missing(positions)
        for partition in sorted(deleted.keys() & self._open.keys()):
            if self._open[partition].next_offset == positions[partition]:
                self._finish(partition, stop)
        _log.error("records_deleted", topic=self.topic, partitions=sorted(deleted), reason=str(error))
        stop.wait(self._settings.retry_seconds)

    def _observe_missing(self, positions: Mapping[int, int]) -> None:
        """Count the deleted records at the positions of paused partitions; forget partitions that continue."""
        self._deleted_before = _deleted_before(positions, self._deleted_before)
        missing = sum(beginning - positions[p] for p, beginning in self._deleted_before.items())
        self._metrics.missing.labels(self.topic).set(missing)

    def _observe(self) -> None:
        assigned = self._consumer.assignment
        waiting = sum(len(segment.records) for p, segment in self._open.items() if p in assigned)
        self._metrics.waiting.labels(self.topic).set(waiting)
        first_ms = (s.records[0].timestamp_ms for p, s in self._open.items() if p in assigned)
        self._metrics.oldest.labels(self.topic).set(min(first_ms, default=0) / 1_000)
        try:
            ends, positions = self._consumer.end_offsets(), self._consumer.positions()
        except EventLogError as error:
            self._metrics.event_log.failed(error)
            _log.warning("lag_unknown", topic=self.topic, reason=str(error))
            return
        self._observe_missing(positions)
        self._unreadable.update(positions)
        lag = {partition: end - positions.get(partition, end) for partition, end in ends.items()}
        self._metrics.lag.show(lag, self.topic)
        self._unread = sum(lag.values())
        self._problem = None

    def _delay(self, stop: threading.Event, error: Exception) -> None:
        self._report_delay(error)
        stop.wait(self._settings.retry_seconds)

    def _report_delay(self, error: Exception) -> None:
        self._problem = str(error)
        _log.warning("archiving_delayed", topic=self.topic, reason=str(error), error=type(error).__name__)


def _deleted_before(positions: Mapping[int, int], beginnings: Mapping[int, int]) -> dict[int, int]:
    """Return the beginning offsets of the partitions whose position precedes them."""
    return {p: beginning for p, beginning in beginnings.items() if positions.get(p, beginning) < beginning}


def _size(record: Record) -> int:
    return len(record.key) + len(record.value)
