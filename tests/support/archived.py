"""A log in memory for the archiver, that outlives its consumers, and a storage that dies when told to."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from prometheus_client import CollectorRegistry

from reprise.archive import OfflineStore
from reprise.archiver.metrics import ArchiverMetrics
from reprise.archiver.settings import ArchiverSettings
from reprise.archiver.worker import RebalanceTracker, Worker
from reprise.events import Event, encode_event
from reprise.log import EVENTS, NotAssignedError, OffsetOutOfRangeError, Record, UnreadableRecordsError
from reprise.runtime.storage import LocalStorage, Storage

TOPIC_ID = bytes(range(16))
START_MS = 1_769_904_000_000
"""2026-02-01T00:00:00Z, after the events of ``make_events``"""


class CrashError(Exception):
    """The process died here."""


class Boundaries:
    """Counts the moments at which a process can die, and dies at one of them."""

    def __init__(self, dies_at: int = -1) -> None:
        self.passed = 0
        self._dies_at = dies_at

    def cross(self) -> None:
        if self.passed == self._dies_at:
            raise CrashError
        self.passed += 1


class CrashingStorage(Storage):
    """Passes on to a real storage, and dies before or after a change of it."""

    def __init__(self, storage: Storage, boundaries: Boundaries) -> None:
        self._storage = storage
        self._boundaries = boundaries

    def location(self, path: str) -> str:
        return self._storage.location(path)

    def files(self, path: str) -> list[str]:
        return self._storage.files(path)

    def open(self, path: str) -> IO[bytes]:
        return self._storage.open(path)

    def read(self, path: str, limit: int | None = None) -> bytes:
        return self._storage.read(path, limit)

    def version(self, path: str) -> str | None:
        return self._storage.version(path)

    def write(self, path: str, content: bytes | Path) -> None:
        self._boundaries.cross()
        self._storage.write(path, content)
        self._boundaries.cross()

    def remove(self, path: str) -> None:
        self._boundaries.cross()
        self._storage.remove(path)
        self._boundaries.cross()


class MemoryLog:
    """Records by partition, and what the group has committed."""

    def __init__(self, records: Mapping[int, Sequence[Record]], topic_id: bytes = TOPIC_ID) -> None:
        self.records = {partition: list(found) for partition, found in records.items()}
        self.committed = dict.fromkeys(self.records, 0)
        self.topic_id = topic_id


class MemoryConsumer:
    """Reads a ``MemoryLog``, a few records of one partition at a time."""

    def __init__(self, log: MemoryLog, chunk: int = 7, boundaries: Boundaries | None = None) -> None:
        self._log = log
        self._chunk = chunk
        self._boundaries = boundaries or Boundaries()
        self._positions = dict(log.committed)
        self._turn = 0
        self.listener: RebalanceTracker | None = None
        self.fails_with: Exception | None = None
        self.unreadable_from: dict[int, int] = {}
        self._paused: set[int] = set()

    @property
    def topic_id(self) -> bytes:
        return self._log.topic_id

    @property
    def partitions(self) -> int:
        return len(self._log.records)

    @property
    def assignment(self) -> frozenset[int]:
        return frozenset(self._positions)

    def poll(self, max_records: int, timeout: float) -> Mapping[int, Sequence[Record]]:
        if self.fails_with is not None:
            raise self.fails_with
        for _ in self._positions:
            self._turn += 1
            partition = sorted(self._positions)[self._turn % len(self._positions)]
            if partition in self._paused:
                continue
            position, end = self._positions[partition], self.unreadable_from.get(partition, sys.maxsize)
            if position == end:
                self._paused.add(partition)
                raise UnreadableRecordsError(EVENTS.name, partition, position, ValueError("no codec"))
            if self._begin(partition) > position:
                raise OffsetOutOfRangeError(f"partition {partition} has no offset {position} any more")
            found = [r for r in self._log.records[partition] if position <= r.offset < end][: self._chunk]
            if found:
                self._positions[partition] = found[-1].offset + 1
                return {partition: found}
        time.sleep(0.0005)
        return {}

    def positions(self) -> Mapping[int, int]:
        return dict(self._positions)

    def beginning_offsets(self) -> Mapping[int, int]:
        return {partition: self._begin(partition) for partition in self._positions}

    def end_offsets(self) -> Mapping[int, int]:
        records = self._log.records
        return {p: records[p][-1].offset + 1 if records[p] else 0 for p in self._positions}

    def commit(self, offsets: Mapping[int, int]) -> None:
        self._boundaries.cross()
        if not offsets.keys() <= self._positions.keys():
            raise NotAssignedError("taken away")
        self._log.committed.update(offsets)
        self._boundaries.cross()

    def close(self) -> None:
        self._positions.clear()

    def _begin(self, partition: int) -> int:
        records = self._log.records[partition]
        return records[0].offset - records[0].absent if records else 0

    def lose(self, partition: int) -> None:
        del self._positions[partition]
        assert self.listener is not None
        self.listener.revoked([partition])

    def regain(self, partition: int) -> None:
        self._positions[partition] = self._log.committed[partition]
        assert self.listener is not None
        self.listener.assigned([partition])


def archive_worker(
    log: MemoryLog,
    root: Path,
    *,
    chunk: int = 7,
    boundaries: Boundaries | None = None,
    storage: Storage | None = None,
    records: int = 20,
    size: int = 1 << 20,
    now_ms: Callable[[], int] = lambda: 0,
) -> tuple[Worker, MemoryConsumer]:
    boundaries = boundaries or Boundaries()
    consumer = MemoryConsumer(log, chunk, boundaries)
    consumer.listener = RebalanceTracker()
    store = OfflineStore(str(root), storage=CrashingStorage(storage or LocalStorage(root), boundaries))
    settings = ArchiverSettings(
        segment_records=records,
        segment_bytes=size,
        window_seconds=60,
        batch_records=1_000,
        poll_seconds=0.01,
        retry_seconds=0.01,
        grace_seconds=1.0,
    )
    metrics = ArchiverMetrics(CollectorRegistry())
    worker = Worker(EVENTS.name, consumer, consumer.listener, store, settings, metrics, now_ms)  # type: ignore[arg-type]  # no seek
    return worker, consumer


def event_records(partition: int, events: Sequence[Event], log_ms: Sequence[int]) -> list[Record]:
    """Return records that hold these events, appended at these instants after ``START_MS``."""
    return [
        Record(partition, offset, START_MS + at, event.user_id.encode(), encode_event(event))
        for offset, (event, at) in enumerate(zip(events, log_ms, strict=True))
    ]


def files_under(root: Path) -> dict[str, bytes]:
    """Return every file under a folder, hidden ones included, with its bytes."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
