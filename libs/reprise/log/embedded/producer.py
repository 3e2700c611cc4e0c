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
from reprise.log.embedded.record_format import FRAME_OVERHEAD, MAX_RECORD_BYTES
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
from reprise.log.interface import Position
from reprise.log.partitioner import partition_of
from reprise.log.topics import TOPICS, Topic


class _Waiting(NamedTuple):
    topic: str
    key: bytes
    value: bytes
    future: Future[Position]


class EmbeddedProducer:
    """Writes from a thread of its own, whatever has gathered meanwhile as one batch; see ``LogProducer``."""

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
            topic.name: TopicDirectory.open(log_dir, topic) for topic in self._topics.values()
        }
        self._writers: dict[tuple[str, int], PartitionWriter] = {}
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._unsettled = 0
        self._closing = False
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="event-log-writer", daemon=True)
        self._thread.start()

    def append(self, topic: str, key: bytes, value: bytes) -> Future[Position]:
        """Queue a record for the writing thread."""
        if topic not in self._topics:
            raise UnknownTopicError(topic, sorted(self._topics))
        size = len(key) + len(value)
        if size > MAX_RECORD_BYTES:
            raise RecordTooLargeError(f"a record of {size:,} bytes; at most {MAX_RECORD_BYTES:,} are taken")
        future: Future[Position] = Future()
        # what was handed over will be written, so the future is not to be cancelled
        future.set_running_or_notify_cancel()
        with self._changed:
            if self._closing:
                raise ClosedError("the producer is closed")
            if self._waiting_bytes + size + FRAME_OVERHEAD > self._buffer_bytes and self._unsettled:
                raise BufferFullError(
                    f"{self._unsettled:,} records of {self._waiting_bytes:,} bytes wait to be written already"
                )
            self._waiting_bytes += size + FRAME_OVERHEAD
            self._unsettled += 1
            self._waiting.append(_Waiting(topic, key, value, future))
            if len(self._waiting) == 1:
                self._changed.notify_all()
        return future

    def buffered(self) -> int:
        """Return the number of records that wait for their acknowledgement."""
        with self._changed:
            return self._unsettled

    def problem(self) -> str | None:
        """Return what the last write failed with, or that the folder cannot be written."""
        if self._closing:
            return self._failure or "the producer is closed"
        if not os.access(self._log_dir, os.W_OK | os.X_OK):
            return f"{self._log_dir} is not a folder that can be written"
        return self._failure

    def flush(self, timeout: float) -> None:
        """Wait until nothing waits."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._unsettled == 0, timeout):
                raise LogTimeoutError(f"{self._unsettled:,} records still wait after {timeout:g} s")

    def close(self, timeout: float) -> None:
        """Write what waits, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._close_writers()
            return
        with self._changed:
            abandoned, self._waiting = self._waiting, []
        error = LogTimeoutError(f"not written when the producer was closed after {timeout:g} s")
        self._settle([(waiting, error) for waiting in abandoned])

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                batch, self._waiting = self._waiting, []
            if not batch:
                return
            try:
                self._write(batch)
            except BaseException:
                self._give_up(batch)
                raise

    def _write(self, batch: list[_Waiting]) -> None:
        by_partition: defaultdict[tuple[str, int], list[_Waiting]] = defaultdict(list)
        for waiting in batch:
            count = self._directories[waiting.topic].partitions
            by_partition[waiting.topic, partition_of(waiting.key, count)].append(waiting)
        for (topic, partition), records in by_partition.items():
            self._settle(self._write_partition(topic, partition, records))

    def _write_partition(
        self, topic: str, partition: int, records: list[_Waiting]
    ) -> list[tuple[_Waiting, Position | EventLogError]]:
        pairs = [(waiting.key, waiting.value) for waiting in records]
        try:
            first, written = self._writer(topic, partition).append(pairs, time.time_ns() // 1_000_000)
        except (OSError, EventLogError) as error:
            failure = _converted(self._directories[topic].path, error)
            self._forget(topic)
            self._failure = str(failure)
            return [(waiting, failure) for waiting in records]
        full = LogUnavailableError(f"{self._directories[topic].path}: the disk took a part of the batch only")
        self._failure = None if written == len(records) else str(full)
        return [
            (waiting, Position(partition, first + number) if number < written else full)
            for number, waiting in enumerate(records)
        ]

    def _give_up(self, batch: list[_Waiting]) -> None:
        self._failure = "the writing thread has failed; the process's standard error says why"
        with self._changed:
            self._closing = True
            abandoned = [waiting for waiting in batch + self._waiting if not waiting.future.done()]
            self._waiting = []
        error = LogUnavailableError(self._failure)
        self._settle([(waiting, error) for waiting in abandoned])

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

    def _forget(self, topic: str) -> None:
        for key in [key for key in self._writers if key[0] == topic]:
            self._writers.pop(key).close()

    def _close_writers(self) -> None:
        for topic in self._topics:
            self._forget(topic)

    def _settle(self, results: list[tuple[_Waiting, Position | EventLogError]]) -> None:
        for waiting, result in results:
            if isinstance(result, Position):
                waiting.future.set_result(result)
            else:
                waiting.future.set_exception(result)
        with self._changed:
            self._unsettled -= len(results)
            self._waiting_bytes -= sum(
                len(waiting.key) + len(waiting.value) + FRAME_OVERHEAD for waiting, _ in results
            )
            self._changed.notify_all()


def _converted(path: Path, error: OSError | EventLogError) -> EventLogError:
    if isinstance(error, OSError):
        return LogUnavailableError(f"{path}: {error.strerror or error}")
    return error
