"""The consumer of the Kafka log."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, TopicPartition, errors
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.structs import OffsetAndMetadata

from reprise.log.exceptions import ClosedError, NotAssignedError, TopicGoneError, UnreadableRecordsError
from reprise.log.interface import RebalanceListener, Record
from reprise.log.kafka.client_internals import (
    RebalanceBridge,
    finish_joins_between_polls,
    topic_id,
    watch_fetches,
)
from reprise.log.kafka.connection import (
    client_options,
    connect,
    convert_error,
    missing_topic,
    wait_for_connection,
)
from reprise.log.settings import EventLogSettings
from reprise.log.topics import Topic

_COMMIT_SECONDS = 10.0
_CLOSE_SECONDS = 5.0
_METADATA_MS = 5_000
_FETCH_WAIT_SECONDS = 0.1
_HEARTBEATS_PER_SESSION = 5
_LATEST_MS = 253_402_300_799_999
"""The last millisecond that ``datetime`` knows; a client may write any timestamp."""


class KafkaLogConsumer:
    """Reads the partitions of one topic; see ``LogConsumer``.

    Raises:
        LogUnavailableError: Kafka cannot be reached or lacks the topic.
        LogRefusedError: Kafka denies access.
    """

    def __init__(
        self,
        settings: EventLogSettings,
        topic: Topic,
        group: str,
        listener: RebalanceListener | None = None,
    ) -> None:
        self._settings = settings
        self._topic = settings.kafka_topic_prefix + topic.name
        self._listener = listener
        self.assignment: frozenset[int] = frozenset()
        self._closed = False
        # the offset after the last returned record, or of the first fetch since the assignment
        self._next_offsets: dict[int, int] = {}
        self._consumer = connect(KafkaConsumer, _options(settings, group), settings, "connecting a consumer")
        try:
            finish_joins_between_polls(self._consumer)
            watch_fetches(self._consumer, self._next_offsets.setdefault)
            self.topic_id = self._find_topic()
            self._topic_missing_since: float | None = None
            bridge = RebalanceBridge(self._on_revoked, self._on_lost, self._on_assigned, self._consumer)
            self._consumer.subscribe([self._topic], listener=bridge)
        except BaseException:
            self._consumer.close(timeout_ms=0)
            raise

    @property
    def partitions(self) -> int:
        """The number of partitions in the client's metadata, which it refreshes."""
        with self._errors_converted(f"looking for topic {self._topic!r}"):
            return len(self._consumer.partitions_for_topic(self._topic))

    def poll(self, max_records: int, timeout: float) -> Mapping[int, Sequence[Record]]:
        """Return the next records by partition."""
        self._check_open()
        with self._errors_converted("reading"):
            try:
                polled = self._consumer.poll(timeout_ms=int(timeout * 1000), max_records=max_records)
            except errors.NoOffsetForPartitionError as error:
                self._consumer.seek_to_beginning(*error.args[0])
                return {}
            except UnreadableRecordsError as error:
                self._consumer.pause(TopicPartition(self._topic, error.partition))
                raise
        # fetches address the topic by id, so its new id is known before records of a recreated topic arrive
        self._check_topic()
        return {
            partition.partition: [self._record(r) for r in records]
            for partition, records in polled.items()
            if partition.partition in self.assignment
        }

    def _record(self, found: ConsumerRecord) -> Record:
        partition, offset = found.partition, found.offset
        absent = offset - self._next_offsets.get(partition, offset)
        self._next_offsets[partition] = offset + 1
        timestamp_ms = min(found.timestamp, _LATEST_MS)
        return Record(partition, offset, timestamp_ms, found.key or b"", found.value or b"", absent)

    def positions(self) -> Mapping[int, int]:
        """Return the next offset to read, by assigned partition."""
        found = {partition: self._position(partition) for partition in sorted(self.assignment)}
        return {partition: position for partition, position in found.items() if position is not None}

    def beginning_offsets(self) -> Mapping[int, int]:
        """Return the first retained offset, by assigned partition; queries Kafka."""
        return self._offsets(self._consumer.beginning_offsets, "querying beginning offsets")

    def end_offsets(self) -> Mapping[int, int]:
        """Return the last stable offset, by assigned partition; queries Kafka."""
        return self._offsets(self._consumer.end_offsets, "querying end offsets")

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Continue reading at these offsets."""
        self._check_open()
        NotAssignedError.check(offsets, self.assignment)
        for partition, offset in offsets.items():
            self._consumer.seek(TopicPartition(self._topic, partition), offset)
            self._next_offsets[partition] = offset

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Commit, and wait for Kafka's acknowledgement."""
        self._check_open()
        NotAssignedError.check(offsets, self.assignment)
        entries = {
            TopicPartition(self._topic, partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in offsets.items()
        }
        with self._errors_converted(f"committing {dict(offsets)}"):
            self._consumer.commit(entries, timeout_ms=int(_COMMIT_SECONDS * 1000))

    def close(self) -> None:
        """Leave the group."""
        if self._closed:
            return
        try:
            with self._errors_converted("leaving the group"):
                self._consumer.close(autocommit=False, timeout_ms=int(_CLOSE_SECONDS * 1000))
        finally:
            self._closed = True
            self.assignment = frozenset()

    def _offsets(self, query: Callable[..., Mapping[TopicPartition, int]], action: str) -> Mapping[int, int]:
        self._check_open()
        partitions = [TopicPartition(self._topic, partition) for partition in sorted(self.assignment)]
        if not partitions:
            return {}
        with self._errors_converted(action):
            found = query(partitions, timeout_ms=_METADATA_MS)
        return {partition.partition: offset for partition, offset in found.items()}

    def _position(self, partition: int) -> int | None:
        self._check_open()
        place = TopicPartition(self._topic, partition)
        with self._errors_converted("querying positions"):
            try:
                found: int | None = self._consumer.position(place, timeout_ms=_METADATA_MS)
            except errors.NoOffsetForPartitionError as error:
                self._consumer.seek_to_beginning(*error.args[0])
                return self._position(partition)
        return found

    def _find_topic(self) -> bytes:
        with self._errors_converted(f"looking for topic {self._topic!r}"):
            partitions = wait_for_connection(
                self._settings, lambda: self._consumer.partitions_for_topic(self._topic)
            )
        found = topic_id(self._consumer, self._topic)
        if not partitions or found is None:
            raise missing_topic(self._settings, self._topic)
        return found

    def _check_topic(self) -> None:
        found, now = topic_id(self._consumer, self._topic), time.monotonic()
        if found == self.topic_id:
            self._topic_missing_since = None
        elif found is not None:
            raise TopicGoneError(f"topic {self._topic!r} was deleted and recreated while it was open")
        elif self._topic_missing_since is None:
            # a broker that has just started may not know the topic yet
            self._topic_missing_since = now
        elif now - self._topic_missing_since > self._settings.kafka_connect_seconds:
            raise TopicGoneError(f"topic {self._topic!r} was deleted while it was open")

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the consumer is closed")

    def _on_revoked(self, partitions: Sequence[int]) -> None:
        # a client that closes during a rebalance revokes the same partitions twice
        held = [partition for partition in partitions if partition in self.assignment]
        try:
            if self._listener is not None and held:
                self._listener.revoked(held)
        finally:
            self.assignment -= set(held)

    def _on_lost(self, partitions: Sequence[int]) -> None:
        self.assignment -= set(partitions)
        if self._listener is not None:
            self._listener.revoked(partitions)

    def _on_assigned(self, partitions: Sequence[int]) -> None:
        self.assignment |= set(partitions)
        for partition in partitions:
            self._next_offsets.pop(partition, None)
        if self._listener is not None:
            self._listener.assigned(partitions)

    @contextmanager
    def _errors_converted(self, action: str) -> Iterator[None]:
        try:
            yield
        except (errors.KafkaError, OSError) as error:
            # the client wraps the listener's exception
            if isinstance(error.__cause__, Exception):
                raise error.__cause__ from error
            raise convert_error(error, self._settings, f"{self._topic}: {action}") from error


def _options(settings: EventLogSettings, group: str) -> dict[str, Any]:
    session_ms = int(settings.kafka_session_seconds * 1000)
    return client_options(settings) | {
        "metrics_enabled": False,
        "group_id": group,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "allow_auto_create_topics": False,
        # eager protocol: partitions are revoked before the rejoin, while their offsets can still be committed
        "partition_assignment_strategy": [RangePartitionAssignor],
        "session_timeout_ms": session_ms,
        "heartbeat_interval_ms": min(1000, session_ms // _HEARTBEATS_PER_SESSION),
        "fetch_max_wait_ms": int(_FETCH_WAIT_SECONDS * 1000),
    }
