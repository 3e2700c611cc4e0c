"""The consumer of the Kafka log."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition, errors
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.structs import OffsetAndMetadata

from reprise.log.exceptions import ClosedError, EventLogError, NotAssignedError, TopicGoneError
from reprise.log.interface import RebalanceListener, Record
from reprise.log.kafka.client_internals import RebalanceBridge, finish_joins_between_polls, topic_id
from reprise.log.kafka.connection import client_options, connect, convert_error, missing_topic
from reprise.log.settings import EventLogSettings
from reprise.log.topics import Topic

_COMMIT_SECONDS = 10.0
_CLOSE_SECONDS = 5.0
_METADATA_SECONDS = 5.0
_FETCH_WAIT_SECONDS = 0.1
_HEARTBEATS_PER_SESSION = 5


class KafkaLogConsumer:
    """Reads the partitions of one topic; see ``LogConsumer``.

    Raises:
        LogUnavailableError: Kafka cannot be reached or lacks the topic.
    """

    def __init__(
        self,
        settings: EventLogSettings,
        topic: Topic,
        group: str,
        listener: RebalanceListener | None = None,
    ) -> None:
        self._settings = settings
        self._topic = topic.name
        self._listener = listener
        self._assigned: frozenset[int] = frozenset()
        self._closed = False
        self._consumer = connect(KafkaConsumer, _options(settings, group), settings, "connecting a consumer")
        try:
            finish_joins_between_polls(self._consumer)
            self._topic_id = self._find_topic()
            bridge = RebalanceBridge(self._on_revoked, self._on_lost, self._on_assigned, self._consumer)
            self._consumer.subscribe([self._topic], listener=bridge)
        except BaseException:
            self._consumer.close(timeout_ms=0)
            raise

    @property
    def topic_id(self) -> bytes:
        """The topic's id (KIP-516)."""
        return self._topic_id

    @property
    def partitions(self) -> int:
        """The number of partitions in the client's metadata, which it refreshes."""
        try:
            return len(self._consumer.partitions_for_topic(self._topic))
        except (errors.KafkaError, OSError) as error:
            raise self._convert(error, f"looking for topic {self._topic!r}") from error

    @property
    def assignment(self) -> frozenset[int]:
        """The assigned partitions."""
        return self._assigned

    def poll(self, max_records: int, timeout: float) -> Mapping[int, Sequence[Record]]:
        """Return the next records by partition."""
        if max_records < 1:
            raise ValueError(f"max_records: expected at least 1, got {max_records}")
        self._check_open()
        try:
            polled = self._consumer.poll(timeout_ms=int(timeout * 1000), max_records=max_records)
        except errors.NoOffsetForPartitionError as error:
            self._consumer.seek_to_beginning(*error.args[0])
            return {}
        except (errors.KafkaError, OSError) as error:
            raise self._unwrap(error, "reading") from error
        # fetches address the topic by id, so its new id is known before records of a recreated topic arrive
        self._check_topic()
        return {
            partition.partition: [
                Record(partition.partition, r.offset, r.timestamp, r.key or b"", r.value or b"")
                for r in records
            ]
            for partition, records in polled.items()
            if partition.partition in self._assigned
        }

    def positions(self) -> Mapping[int, int]:
        """Return the next offset to read, by assigned partition."""
        positions = {}
        for partition in sorted(self._assigned):
            position = self._position(TopicPartition(self._topic, partition))
            if position is not None:
                positions[partition] = position
        return positions

    def beginning_offsets(self) -> Mapping[int, int]:
        """Return the first retained offset, by assigned partition; queries Kafka."""
        return self._offsets(self._consumer.beginning_offsets, "querying beginning offsets")

    def end_offsets(self) -> Mapping[int, int]:
        """Return the next offset to be written, by assigned partition; queries Kafka."""
        return self._offsets(self._consumer.end_offsets, "querying end offsets")

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Commit, and wait for Kafka's acknowledgement."""
        self._check_open()
        NotAssignedError.check(offsets, self._assigned)
        entries = {
            TopicPartition(self._topic, partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in offsets.items()
        }
        try:
            self._consumer.commit(entries, timeout_ms=int(_COMMIT_SECONDS * 1000))
        except (errors.KafkaError, OSError) as error:
            raise self._unwrap(error, f"committing {dict(offsets)}") from error

    def close(self) -> None:
        """Leave the group."""
        if self._closed:
            return
        try:
            self._consumer.close(autocommit=False, timeout_ms=int(_CLOSE_SECONDS * 1000))
        except (errors.KafkaError, OSError) as error:
            raise self._unwrap(error, "leaving the group") from error
        finally:
            self._closed = True
            self._assigned = frozenset()

    def _offsets(self, query: Callable[..., Mapping[TopicPartition, int]], action: str) -> Mapping[int, int]:
        self._check_open()
        partitions = [TopicPartition(self._topic, partition) for partition in sorted(self._assigned)]
        if not partitions:
            return {}
        try:
            found = query(partitions, timeout_ms=int(_METADATA_SECONDS * 1000))
        except (errors.KafkaError, OSError) as error:
            raise self._unwrap(error, action) from error
        return {partition.partition: offset for partition, offset in found.items()}

    def _position(self, partition: TopicPartition) -> int | None:
        self._check_open()
        try:
            found = self._consumer.position(partition, timeout_ms=int(_METADATA_SECONDS * 1000))
        except errors.NoOffsetForPartitionError as error:
            self._consumer.seek_to_beginning(*error.args[0])
            return self._position(partition)
        except (errors.KafkaError, OSError) as error:
            raise self._unwrap(error, "querying positions") from error
        return None if found is None else int(found)

    def _find_topic(self) -> bytes:
        partitions, found = self.partitions, topic_id(self._consumer, self._topic)
        if not partitions or found is None:
            raise missing_topic(self._settings, self._topic)
        return found

    def _check_topic(self) -> None:
        if topic_id(self._consumer, self._topic) not in (None, self._topic_id):
            raise TopicGoneError(f"topic {self._topic!r} was deleted and recreated while it was open")

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the consumer is closed")

    def _on_revoked(self, partitions: Sequence[int]) -> None:
        # a client that closes during a rebalance revokes the same partitions twice
        held = [partition for partition in partitions if partition in self._assigned]
        try:
            if self._listener is not None and held:
                self._listener.revoked(held)
        finally:
            self._assigned -= set(held)

    def _on_lost(self, partitions: Sequence[int]) -> None:
        self._assigned -= set(partitions)
        if self._listener is not None:
            self._listener.revoked(partitions)

    def _on_assigned(self, partitions: Sequence[int]) -> None:
        self._assigned |= set(partitions)
        if self._listener is not None:
            self._listener.assigned(partitions)

    def _unwrap(self, error: Exception, action: str) -> Exception:
        """Return the converted error, or the listener's exception that the client wraps."""
        cause = error.__cause__
        return cause if isinstance(cause, Exception) else self._convert(error, action)

    def _convert(self, error: Exception, action: str) -> EventLogError:
        return convert_error(error, self._settings, f"{self._topic}: {action}")


def _options(settings: EventLogSettings, group: str) -> dict[str, Any]:
    session_ms = int(settings.kafka_session_seconds * 1000)
    return client_options(settings) | {
        "metrics_enabled": False,
        "group_id": group,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "allow_auto_create_topics": False,
        # eager protocol: partitions are revoked before the rejoin, while their offsets can still be committed
        "partition_assignment_strategy": [RangePartitionAssignor],
        "session_timeout_ms": session_ms,
        "heartbeat_interval_ms": min(1000, session_ms // _HEARTBEATS_PER_SESSION),
        "fetch_max_wait_ms": int(_FETCH_WAIT_SECONDS * 1000),
    }
