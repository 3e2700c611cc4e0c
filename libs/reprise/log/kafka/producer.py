"""The producer of the Kafka log."""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from kafka import KafkaProducer, errors
from kafka.cluster import ClusterMetadata
from kafka.partitioner.abc import Partitioner
from kafka.producer.future import RecordMetadata

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
from reprise.log.kafka.connection import client_options, connect, convert_error, missing_topic
from reprise.log.partitioner import partition_of
from reprise.log.settings import EventLogSettings
from reprise.log.topics import TOPICS, Topic
from reprise.runtime.logs import get_logger

_OVERHEAD_BYTES = 100
_BATCH_BYTES = 128 * 1024
_LINGER_SECONDS = 0.005
_SILENT_SECONDS = 5.0
_FAILURE_SECONDS = 5.0
_METADATA_SECONDS = 0.5
_TOPIC_SECONDS = 5.0
_STUCK_SECONDS = 5.0
_RETRY_SECONDS = 2.0

_log = get_logger(__name__)


class KafkaLogProducer:
    """Writes idempotently with ``acks=all``; see ``LogProducer``.

    A client that makes no progress for longer than the delivery timeout is replaced: if it loses the response to its
    request for a producer id, it waits forever and never expires its records.

    Raises:
        LogUnavailableError: Kafka cannot be reached or lacks a topic.
    """

    def __init__(
        self,
        settings: EventLogSettings,
        topics: Iterable[Topic] = TOPICS,
        make_client: Callable[..., KafkaProducer] = KafkaProducer,
    ) -> None:
        self._settings = settings
        self._make_client = make_client
        self._topics = {topic.name for topic in topics}
        self._changed = threading.Condition()
        self._pending: dict[Future[Position], int] = {}
        self._pending_bytes = 0
        self._unresolved = 0
        self._last_progress = 0.0
        self._failure: str | None = None
        self._failed_at = 0.0
        self._replacing = False
        self._closed = threading.Event()
        self._producer = self._connected()
        try:
            self._await_topics()
        except BaseException:
            self._producer.close(0)
            raise

    def append(self, topic: str, key: bytes, value: bytes) -> Future[Position]:
        """Queue a record for the client's sender thread."""
        if topic not in self._topics:
            raise UnknownTopicError(topic, sorted(self._topics))
        size = len(key) + len(value) + _OVERHEAD_BYTES
        if size > MAX_RECORD_BYTES:
            raise RecordTooLargeError(f"a record of {size:,} bytes; the maximum is {MAX_RECORD_BYTES:,}")
        future: Future[Position] = Future()
        # a queued record will be written, so its future cannot be cancelled
        future.set_running_or_notify_cancel()
        self._replace_if_stuck()
        self._reserve(future, size)
        try:
            sent = self._producer.send(topic, value, key)
        except (errors.KafkaError, ValueError, RuntimeError) as error:
            if self._claim(future):
                self._resolved()
            raise self._append_error(error, topic) from error
        sent.add_callback(self._on_acknowledged, future)
        sent.add_errback(self._on_failed, future, topic)
        return future

    def buffered(self) -> int:
        """Return the number of unacknowledged records."""
        return self._unresolved

    def problem(self) -> str | None:
        """Return the last write error, or that Kafka has acknowledged nothing for long.

        An error expires after a few seconds: an unready process gets no requests and so would never write again.
        """
        self._replace_if_stuck()
        if self._closed.is_set():
            return "the producer is closed"
        if self._replacing:
            return self._being_replaced()
        with self._changed:
            silent = time.monotonic() - self._last_progress
            if self._pending and silent > _SILENT_SECONDS:
                return (
                    f"Kafka at {self._settings.kafka_servers} has acknowledged nothing for {silent:.0f} s;"
                    f" {len(self._pending):,} records are unacknowledged"
                )
        recent = time.monotonic() - self._failed_at < _FAILURE_SECONDS
        return self._failure if recent else None

    def flush(self, timeout: float) -> None:
        """Send at once; wait until every appended record is acknowledged or has failed."""
        deadline = time.monotonic() + timeout
        try:
            self._producer.flush(timeout)
            flushed = True
        except errors.KafkaTimeoutError:
            flushed = False
        with self._changed:
            remaining = max(0.0, deadline - time.monotonic())
            if not flushed or not self._changed.wait_for(lambda: self._unresolved == 0, remaining):
                raise LogTimeoutError(f"{self._unresolved:,} records are unacknowledged after {timeout:g} s")

    def close(self, timeout: float) -> None:
        """Flush, then close the client; unacknowledged records fail."""
        with self._changed:
            if self._closed.is_set():
                return
            self._closed.set()
        started = time.monotonic()
        try:
            self.flush(timeout)
        except LogTimeoutError as error:
            self._abandon(LogTimeoutError(f"not written before the producer was closed: {error}"))
        self._producer.close(max(0.0, timeout - (time.monotonic() - started)))

    def _await_topics(self) -> None:
        for topic in sorted(self._topics):
            deadline = time.monotonic() + _TOPIC_SECONDS
            while True:
                try:
                    self._producer.partitions_for(topic)
                    break
                except errors.KafkaTimeoutError as error:
                    if time.monotonic() > deadline:
                        raise missing_topic(self._settings, topic) from error
                except errors.KafkaError as error:
                    raise convert_error(error, self._settings, f"looking for topic {topic!r}") from error

    def _reserve(self, future: Future[Position], size: int) -> None:
        with self._changed:
            if self._closed.is_set():
                raise ClosedError("the producer is closed")
            if self._replacing:
                raise LogUnavailableError(self._being_replaced())
            if self._pending_bytes + size > self._settings.log_buffer_bytes and self._pending:
                raise BufferFullError(
                    f"the buffer is full: {self._unresolved:,} records of {self._pending_bytes:,} bytes"
                )
            if not self._pending:
                self._last_progress = time.monotonic()
            self._pending[future] = size
            self._pending_bytes += size
            self._unresolved += 1

    def _claim(self, future: Future[Position]) -> bool:
        """Remove a record from the pending ones; false if it was abandoned before."""
        with self._changed:
            size = self._pending.pop(future, None)
            if size is None:
                return False
            self._pending_bytes -= size
            self._last_progress = time.monotonic()
            return True

    def _resolved(self, count: int = 1) -> None:
        with self._changed:
            self._unresolved -= count
            if self._unresolved == 0:
                self._changed.notify_all()

    def _on_acknowledged(self, future: Future[Position], metadata: RecordMetadata) -> None:
        if self._claim(future):
            self._failure = None
            future.set_result(Position(metadata.partition, metadata.offset))
            self._resolved()

    def _on_failed(self, future: Future[Position], topic: str, error: Exception) -> None:
        if self._claim(future):
            failure = convert_error(error, self._settings, f"writing to {topic!r}")
            self._failure, self._failed_at = str(failure), time.monotonic()
            future.set_exception(failure)
            self._resolved()

    def _append_error(self, error: Exception, topic: str) -> EventLogError:
        if isinstance(error, errors.IllegalStateError):
            if self._closed.is_set():
                return ClosedError("the producer is closed")
            return LogUnavailableError(self._being_replaced())
        if isinstance(error, errors.KafkaTimeoutError):
            return missing_topic(self._settings, topic)
        return convert_error(error, self._settings, f"writing to {topic!r}")

    def _abandon(self, error: EventLogError) -> None:
        with self._changed:
            abandoned, self._pending = self._pending, {}
            self._pending_bytes = 0
        for future in abandoned:
            future.set_exception(error)
        self._resolved(len(abandoned))
        # close() would wait for the records that cannot be written
        self._producer._sender.force_close()
        self._producer._sender.join(1.0)

    def _connected(self) -> KafkaProducer:
        return connect(self._make_client, _options(self._settings), self._settings, "connecting a producer")

    def _replace_if_stuck(self) -> None:
        if not self._is_stuck():
            return
        with self._changed:
            # checked again under the lock
            if self._closed.is_set() or self._replacing or not self._is_stuck():
                return
            self._replacing = True
            silent = time.monotonic() - self._last_progress
        threading.Thread(
            target=self._replace, args=(silent,), name="replace-kafka-client", daemon=True
        ).start()

    def _is_stuck(self) -> bool:
        limit = self._settings.kafka_delivery_seconds + _STUCK_SECONDS
        return bool(self._pending) and time.monotonic() - self._last_progress > limit

    def _replace(self, silent: float) -> None:
        _log.error("kafka_client_stuck", waiting=self._unresolved, silent_seconds=round(silent, 1))
        self._abandon(
            LogTimeoutError(
                f"Kafka at {self._settings.kafka_servers} has acknowledged nothing for {silent:.0f} s;"
                " the record may have been written"
            )
        )
        while not self._closed.is_set():
            try:
                producer = self._connected()
            except LogUnavailableError as error:
                _log.warning("kafka_client_not_replaced", reason=str(error))
                self._closed.wait(_RETRY_SECONDS)
                continue
            with self._changed:
                self._producer, self._replacing = producer, False
            if self._closed.is_set():
                producer.close(0)
            else:
                _log.info("kafka_client_replaced")
            return

    def _being_replaced(self) -> str:
        return f"the client of Kafka at {self._settings.kafka_servers} made no progress and is being replaced"


class _CachedPartitioner(Partitioner):  # type: ignore[misc]
    """Kafka's default partitioner for records with a key, with cached hashes."""

    def partition(
        self,
        topic: str,
        key: object,  # noqa: ARG002 - the client's interface
        serialized_key: bytes,
        value: object,  # noqa: ARG002
        serialized_value: object,  # noqa: ARG002
        cluster: ClusterMetadata,
    ) -> int:
        """Return the partition of a key."""
        partitions = cluster.partitions_for_topic(topic)
        if not partitions:
            raise ValueError(f"topic {topic!r} is unknown")
        return partition_of(serialized_key, len(partitions))


def _options(settings: EventLogSettings) -> dict[str, Any]:
    delivery_ms = int(settings.kafka_delivery_seconds * 1000)
    options = client_options(settings)
    return options | {
        "metrics_enabled": False,
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": "zstd",
        "batch_size": _BATCH_BYTES,
        "linger_ms": int(_LINGER_SECONDS * 1000),
        "max_request_size": MAX_RECORD_BYTES,
        "delivery_timeout_ms": delivery_ms,
        "request_timeout_ms": min(options["request_timeout_ms"], delivery_ms // 2),
        "max_block_ms": int(_METADATA_SECONDS * 1000),
        "allow_auto_create_topics": False,
        "partitioner": _CachedPartitioner(),
    }
