"""The producer of the Kafka log."""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from kafka import KafkaProducer, errors
from kafka.cluster import ClusterMetadata
from kafka.partitioner.abc import Partitioner
from kafka.producer.future import RecordMetadata

from reprise.log.exceptions import (
    ClosedError,
    EventLogError,
    LogTimeoutError,
    LogUnavailableError,
)
from reprise.log.interface import MAX_RECORD_BYTES, Position
from reprise.log.kafka.client_internals import abandon
from reprise.log.kafka.connection import (
    client_options,
    connect,
    convert_error,
    missing_topic,
    wait_for_connection,
)
from reprise.log.partitioner import partition_of
from reprise.log.pending import PendingRecords
from reprise.log.settings import EventLogSettings
from reprise.log.topics import TOPICS
from reprise.runtime.logs import get_logger

_BATCH_BYTES = 128 * 1024
_LINGER_SECONDS = 0.005
_SILENT_SECONDS = 5.0
_METADATA_SECONDS = 0.5
_STUCK_SECONDS = 5.0
_RETRY_SECONDS = 2.0

_log = get_logger(__name__)


class KafkaLogProducer:
    """Writes idempotently with ``acks=all``; see ``LogProducer``.

    A client that makes no progress for longer than the delivery timeout is replaced: if it loses the response to its
    request for a producer id, it waits forever and never expires its records.

    Raises:
        LogUnavailableError: Kafka cannot be reached or lacks a topic.
        LogRefusedError: Kafka denies access.
    """

    def __init__(
        self, settings: EventLogSettings, make_client: Callable[..., KafkaProducer] = KafkaProducer
    ) -> None:
        self._settings = settings
        self._make_client = make_client
        self._pending = PendingRecords(settings.log_buffer_bytes)
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
        topic = self._settings.kafka_topic_prefix + topic
        self._replace_if_stuck()
        with self._pending.changed:
            if self._closed.is_set():
                raise ClosedError("the producer is closed")
            if self._replacing:
                raise LogUnavailableError(self._being_replaced())
            future = self._pending.add(key, value)
        try:
            sent = self._producer.send(topic, value, key)
        except (errors.KafkaError, ValueError, RuntimeError) as error:
            self._pending.discard(future)
            raise self._append_error(error, topic) from error
        sent.add_callback(self._on_acknowledged, future)
        sent.add_errback(self._on_failed, future, topic)
        return future

    def buffered(self) -> int:
        """Return the number of unacknowledged records."""
        return self._pending.unresolved

    def problem(self) -> str | None:
        """Return the error of the last write for a few seconds, or that Kafka has acknowledged nothing for long."""
        self._replace_if_stuck()
        if self._closed.is_set():
            return "the producer is closed"
        if self._replacing:
            return self._being_replaced()
        silent = self._pending.silent_seconds()
        if silent > _SILENT_SECONDS:
            return (
                f"Kafka at {self._settings.kafka_servers} has acknowledged nothing for {silent:.0f} s;"
                f" {self._pending.unresolved:,} records are unacknowledged"
            )
        return self._pending.failure

    def flush(self, timeout: float) -> None:
        """Send at once; wait until every appended record is acknowledged or has failed."""
        started = time.monotonic()
        with contextlib.suppress(errors.KafkaTimeoutError):
            self._producer.flush(timeout)
        self._pending.wait(timeout, elapsed=time.monotonic() - started)

    def close(self, timeout: float) -> None:
        """Flush, then close the client; unacknowledged records fail."""
        with self._pending.changed:
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
        for topic in sorted(self._settings.kafka_topic_prefix + topic.name for topic in TOPICS):
            deadline = time.monotonic() + self._settings.kafka_connect_seconds
            while True:
                try:
                    wait_for_connection(self._settings, partial(self._producer.partitions_for, topic))
                    break
                except errors.KafkaTimeoutError as error:
                    if time.monotonic() > deadline:
                        raise missing_topic(self._settings, topic) from error
                except errors.KafkaError as error:
                    raise convert_error(error, self._settings, f"looking for topic {topic!r}") from error

    def _on_acknowledged(self, future: Future[Position], metadata: RecordMetadata) -> None:
        self._pending.resolve([(future, Position(metadata.partition, metadata.offset))])

    def _on_failed(self, future: Future[Position], topic: str, error: Exception) -> None:
        self._pending.resolve([(future, convert_error(error, self._settings, f"writing to {topic!r}"))])

    def _append_error(self, error: Exception, topic: str) -> EventLogError:
        if isinstance(error, errors.IllegalStateError):
            if self._closed.is_set():
                return ClosedError("the producer is closed")
            return LogUnavailableError(self._being_replaced())
        if isinstance(error, errors.KafkaTimeoutError):
            return missing_topic(self._settings, topic)
        return convert_error(error, self._settings, f"writing to {topic!r}")

    def _abandon(self, error: EventLogError) -> None:
        self._pending.abandon(error)
        abandon(self._producer)

    def _connected(self) -> KafkaProducer:
        return connect(self._make_client, _options(self._settings), self._settings, "connecting a producer")

    def _replace_if_stuck(self) -> None:
        if not self._is_stuck():
            return
        with self._pending.changed:
            # checked again under the lock
            if self._closed.is_set() or self._replacing or not self._is_stuck():
                return
            self._replacing = True
            silent = self._pending.silent_seconds()
        threading.Thread(
            target=self._replace, args=(silent,), name="replace-kafka-client", daemon=True
        ).start()

    def _is_stuck(self) -> bool:
        return self._pending.silent_seconds() > self._settings.kafka_delivery_seconds + _STUCK_SECONDS

    def _replace(self, silent: float) -> None:
        _log.error("kafka_client_stuck", waiting=self._pending.unresolved, silent_seconds=round(silent, 1))
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
            with self._pending.changed:
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
