"""The embedded log's producer."""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from reprise.log.embedded.topic_database import TopicDatabase
from reprise.log.exceptions import (
    ClosedError,
    EventLogError,
    LogTimeoutError,
    LogUnavailableError,
    TopicGoneError,
)
from reprise.log.interface import Position
from reprise.log.partitioner import partition_of
from reprise.log.pending import PendingRecords
from reprise.log.topics import TOPICS, Topic


class _Queued(NamedTuple):
    key: bytes
    value: bytes
    future: Future[Position]


class EmbeddedProducer:
    """Writes record batches on its own thread, a transaction per topic; see ``LogProducer``."""

    def __init__(
        self,
        log_dir: Path,
        *,
        topics: Iterable[Topic] = TOPICS,
        fsync: bool = False,
        buffer_bytes: int = 32 * 1024 * 1024,
    ) -> None:
        self._log_dir = log_dir
        self._topics = {topic.name: topic for topic in topics}
        self._fsync = fsync
        self._databases: dict[str, TopicDatabase] = {}
        self._pending = PendingRecords(buffer_bytes)
        self._queue: defaultdict[str, list[_Queued]] = defaultdict(list)
        self._closing = False
        self._crash: str | None = None
        try:
            for topic in self._topics:
                self._database(topic)
        except BaseException:
            self._close_databases()
            raise
        self._thread = threading.Thread(target=self._run, name="event-log-writer", daemon=True)
        self._thread.start()

    def append(self, topic: str, key: bytes, value: bytes) -> Future[Position]:
        """Queue a record for the writer thread."""
        with self._pending.changed:
            if self._closing:
                raise ClosedError("the producer is closed")
            future = self._pending.add(key, value)
            if not self._queue:
                self._pending.changed.notify_all()
            self._queue[topic].append(_Queued(key, value, future))
        return future

    def buffered(self) -> int:
        """Return the number of unacknowledged records."""
        return self._pending.unresolved

    def problem(self) -> str | None:
        """Return the error of the last write for a few seconds, or that the folder is not writable."""
        if self._closing:
            return self._crash or "the producer is closed"
        if not os.access(self._log_dir, os.W_OK | os.X_OK):
            return f"{self._log_dir} is not a writable folder"
        return self._pending.failure

    def flush(self, timeout: float) -> None:
        """Wait until every appended record is acknowledged or has failed."""
        self._pending.wait(timeout)

    def close(self, timeout: float) -> None:
        """Write the queue, then stop the thread."""
        with self._pending.changed:
            self._closing = True
            self._pending.changed.notify_all()
        self._thread.join(timeout)
        if self._thread.is_alive():
            with self._pending.changed:
                abandoned, self._queue = self._queue, defaultdict(list)
            error = LogTimeoutError(f"not written within {timeout:g} s of closing the producer")
            self._pending.resolve(
                (queued.future, error) for records in abandoned.values() for queued in records
            )

    def _run(self) -> None:
        try:
            while True:
                with self._pending.changed:
                    self._pending.changed.wait_for(lambda: self._queue or self._closing)
                    batch, self._queue = self._queue, defaultdict(list)
                if not batch:
                    return
                for topic, records in batch.items():
                    self._pending.resolve(self._write(topic, records))
        except BaseException:
            with self._pending.changed:
                self._closing = True
            self._crash = "the writer thread has failed; see the process's standard error"
            self._pending.abandon(LogUnavailableError(self._crash))
            raise
        finally:
            self._close_databases()

    def _write(
        self, topic: str, records: list[_Queued]
    ) -> list[tuple[Future[Position], Position | EventLogError]]:
        """Write the records in one transaction; return their positions, or the error that all of them share."""
        written: list[tuple[Future[Position], Position | EventLogError]] = []
        try:
            database = self._database(topic)
            if database.removed:
                self._databases.pop(topic).close()
                raise TopicGoneError(f"{database.folder} was removed while it was open")
            by_partition: defaultdict[int, list[_Queued]] = defaultdict(list)
            for queued in records:
                by_partition[partition_of(queued.key, database.partitions)].append(queued)
            timestamp_ms = time.time_ns() // 1_000_000
            with database.transaction():
                for partition, part in by_partition.items():
                    first = database.append(partition, [(q.key, q.value) for q in part], timestamp_ms)
                    written += [
                        (q.future, Position(partition, offset)) for offset, q in enumerate(part, first)
                    ]
        except EventLogError as error:
            return [(queued.future, error) for queued in records]
        return written

    def _database(self, topic: str) -> TopicDatabase:
        if topic not in self._databases:
            self._databases[topic] = TopicDatabase(self._log_dir, self._topics[topic], fsync=self._fsync)
        return self._databases[topic]

    def _close_databases(self) -> None:
        for database in self._databases.values():
            database.close()
