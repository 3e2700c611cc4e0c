"""The embedded log's producer."""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from reprise.log.embedded.partition_file import PartitionWriter
from reprise.log.embedded.record_format import RECORD_OVERHEAD
from reprise.log.embedded.topic_directory import TopicDirectory
from reprise.log.exceptions import (
    BufferFullError,
    ClosedError,
    EventLogError,
    LogTimeoutError,
    LogUnavailableError,
    RecordTooLargeError,
    UnknownTopicError,
)
from reprise.log.interface import MAX_RECORD_BYTES, Position
from reprise.log.partitioner import partition_of
from reprise.log.topics import TOPICS, Topic


class _Pending(NamedTuple):
    topic: str
    key: bytes
    value: bytes
    future: Future[Position]


class EmbeddedProducer:
    """Writes record batches on its own thread; see ``LogProducer``."""

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
        self._buffer_bytes = buffer_bytes
        self._directories = {
            name: TopicDirectory.open(log_dir, topic) for name, topic in self._topics.items()
        }
        self._writers: dict[tuple[str, int], PartitionWriter] = {}
        self._changed = threading.Condition()
        self._queue: list[_Pending] = []
        self._buffered_bytes = 0
        self._buffered = 0
        self._closing = False
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="event-log-writer", daemon=True)
        self._thread.start()

    def append(self, topic: str, key: bytes, value: bytes) -> Future[Position]:
        """Queue a record for the writer thread."""
        if topic not in self._topics:
            raise UnknownTopicError(topic, sorted(self._topics))
        size = len(key) + len(value)
        if size > MAX_RECORD_BYTES:
            raise RecordTooLargeError(f"a record of {size:,} bytes; the maximum is {MAX_RECORD_BYTES:,}")
        future: Future[Position] = Future()
        # a queued record will be written, so its future cannot be cancelled
        future.set_running_or_notify_cancel()
        with self._changed:
            if self._closing:
                raise ClosedError("the producer is closed")
            if self._buffered_bytes + size + RECORD_OVERHEAD > self._buffer_bytes and self._buffered:
                raise BufferFullError(
                    f"the buffer is full: {self._buffered:,} records of {self._buffered_bytes:,} bytes"
                )
            self._buffered_bytes += size + RECORD_OVERHEAD
            self._buffered += 1
            self._queue.append(_Pending(topic, key, value, future))
            if len(self._queue) == 1:
                self._changed.notify_all()
        return future

    def buffered(self) -> int:
        """Return the number of unacknowledged records."""
        return self._buffered

    def problem(self) -> str | None:
        """Return the error of the last write, or that the folder is not writable."""
        if self._closing:
            return self._failure or "the producer is closed"
        if not os.access(self._log_dir, os.W_OK | os.X_OK):
            return f"{self._log_dir} is not a writable folder"
        return self._failure

    def flush(self, timeout: float) -> None:
        """Wait until every appended record is acknowledged or has failed."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._buffered == 0, timeout):
                raise LogTimeoutError(f"{self._buffered:,} records are unacknowledged after {timeout:g} s")

    def close(self, timeout: float) -> None:
        """Write the queue, then stop the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        if not self._thread.is_alive():
            for topic in self._topics:
                self._close_writers(topic)
            return
        with self._changed:
            abandoned, self._queue = self._queue, []
        error = LogTimeoutError(f"not written within {timeout:g} s of closing the producer")
        self._resolve([(pending, error) for pending in abandoned])

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                batch, self._queue = self._queue, []
            if not batch:
                return
            try:
                self._write(batch)
            except BaseException:
                self._abort(batch)
                raise

    def _write(self, batch: list[_Pending]) -> None:
        by_partition: defaultdict[tuple[str, int], list[_Pending]] = defaultdict(list)
        for pending in batch:
            count = self._directories[pending.topic].partitions
            by_partition[pending.topic, partition_of(pending.key, count)].append(pending)
        for (topic, partition), records in by_partition.items():
            self._resolve(self._write_partition(topic, partition, records))

    def _write_partition(
        self, topic: str, partition: int, records: list[_Pending]
    ) -> list[tuple[_Pending, Position | EventLogError]]:
        path = self._directories[topic].path
        pairs = [(pending.key, pending.value) for pending in records]
        try:
            first, written = self._writer(topic, partition).append(pairs, time.time_ns() // 1_000_000)
        except (OSError, EventLogError) as error:
            failure = LogUnavailableError.from_os_error(path, error) if isinstance(error, OSError) else error
            self._close_writers(topic)
            self._failure = str(failure)
            return [(pending, failure) for pending in records]
        disk_full = LogUnavailableError(f"{path}: the disk is full; only a part of the batch was written")
        self._failure = None if written == len(records) else str(disk_full)
        return [
            (pending, Position(partition, first + number) if number < written else disk_full)
            for number, pending in enumerate(records)
        ]

    def _abort(self, batch: list[_Pending]) -> None:
        self._failure = "the writer thread has failed; see the process's standard error"
        with self._changed:
            self._closing = True
            abandoned = [pending for pending in batch + self._queue if not pending.future.done()]
            self._queue = []
        error = LogUnavailableError(self._failure)
        self._resolve([(pending, error) for pending in abandoned])

    def _writer(self, topic: str, partition: int) -> PartitionWriter:
        writer = self._writers.get((topic, partition))
        if writer is None:
            directory = self._directories[topic]
            if not directory.path.exists():
                directory = self._directories[topic] = TopicDirectory.open(self._log_dir, self._topics[topic])
            writer = PartitionWriter(
                directory.log_file(partition), directory.index(partition), partition, fsync=self._fsync
            )
            self._writers[topic, partition] = writer
        return writer

    def _close_writers(self, topic: str) -> None:
        for key in [key for key in self._writers if key[0] == topic]:
            self._writers.pop(key).close()

    def _resolve(self, results: list[tuple[_Pending, Position | EventLogError]]) -> None:
        for pending, result in results:
            if isinstance(result, Position):
                pending.future.set_result(result)
            else:
                pending.future.set_exception(result)
        with self._changed:
            self._buffered -= len(results)
            self._buffered_bytes -= sum(
                len(pending.key) + len(pending.value) + RECORD_OVERHEAD for pending, _ in results
            )
            self._changed.notify_all()
