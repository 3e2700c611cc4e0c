"""Reading from Kafka as a member of a consumer group."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition, errors
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.structs import OffsetAndMetadata

from reprise.log.exceptions import ClosedError, EventLogError, NotAssignedError, TopicGoneError
from reprise.log.interface import RebalanceListener, Record
from reprise.log.kafka.connection import client_options, connect, converted, missing_topic
from reprise.log.kafka.rebalance import RebalanceBridge, keep_unseen_assignment
from reprise.log.settings import EventLogSettings
from reprise.log.topics import Topic

_COMMIT_SECONDS = 10.0
_CLOSE_SECONDS = 5.0
_METADATA_SECONDS = 5.0
_FETCH_WAIT_SECONDS = 0.1
_HEARTBEATS_PER_SESSION = 5


class KafkaConsumerLog:
    """Reads one topic's partitions, commits by hand; see ``LogConsumer``.

    Raises:
        LogUnavailableError: Kafka cannot be reached, or lacks the topic.
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
            keep_unseen_assignment(self._consumer)
            self._topic_id = self._find_topic()
            bridge = RebalanceBridge(self._on_revoked, self._on_lost, self._on_assigned, self._consumer)
            self._consumer.subscribe([self._topic], listener=bridge)
        except BaseException:
            self._consumer.close(timeout_ms=0)
            raise

    @property
    def topic_id(self) -> bytes:
        """The id that Kafka gave the topic when it was made (KIP-516)."""
        return self._topic_id

    @property
    def assignment(self) -> frozenset[int]:
        """The partitions that are read now."""
        return self._assigned

    def poll(self, max_records: int, timeout: float) -> Mapping[int, Sequence[Record]]:
        """Return the next records by partition."""
        if max_records < 1:
            raise ValueError(f"max_records: expected at least 1, got {max_records}")
        self._refuse_closed()
        try:
            polled = self._consumer.poll(timeout_ms=int(timeout * 1000), max_records=max_records)
        except errors.NoOffsetForPartitionError as error:
            self._consumer.seek_to_beginning(*error.args[0])
            return {}
        except (errors.KafkaError, OSError) as error:
            raise self._failure(error, "reading") from error
        # a fetch names the topic by its id, so records of another incarnation come after its id is known
        self._refuse_another_topic()
        return {
            partition.partition: [
                Record(partition.partition, r.offset, r.timestamp, r.key or b"", r.value or b"")
                for r in records
            ]
            for partition, records in polled.items()
            if partition.partition in self._assigned
        }

    def positions(self) -> Mapping[int, int]:
        """Return the offset that is returned next, by assigned partition."""
        positions = {}
        for partition in sorted(self._assigned):
            position = self._position(TopicPartition(self._topic, partition))
            if position is not None:
                positions[partition] = position
        return positions

    def begin_offsets(self) -> Mapping[int, int]:
        """Return the offset of the first record that Kafka still has, by assigned partition; asks Kafka."""
        return self._offsets(self._consumer.beginning_offsets, "asking for the beginnings")

    def end_offsets(self) -> Mapping[int, int]:
        """Return the offset that is written next, by assigned partition; asks Kafka."""
        return self._offsets(self._consumer.end_offsets, "asking for the ends")

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Commit, and wait until Kafka has it."""
        self._refuse_closed()
        foreign = sorted(offsets.keys() - self._assigned)
        if foreign:
            raise NotAssignedError(
                f"partitions {foreign} are not assigned; assigned: {sorted(self._assigned)}"
            )
        entries = {
            TopicPartition(self._topic, partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in offsets.items()
        }
        try:
            self._consumer.commit(entries, timeout_ms=int(_COMMIT_SECONDS * 1000))
        except (errors.KafkaError, OSError) as error:
            raise self._failure(error, f"committing {dict(offsets)}") from error

    def close(self) -> None:
        """Leave the group."""
        if self._closed:
            return
        try:
            self._consumer.close(autocommit=False, timeout_ms=int(_CLOSE_SECONDS * 1000))
        except (errors.KafkaError, OSError) as error:
            raise self._failure(error, "leaving the group") from error
        finally:
            self._closed = True
            self._assigned = frozenset()

    def _offsets(self, ask: Callable[..., Mapping[TopicPartition, int]], doing: str) -> Mapping[int, int]:
        self._refuse_closed()
        partitions = [TopicPartition(self._topic, partition) for partition in sorted(self._assigned)]
        if not partitions:
            return {}
        try:
            found = ask(partitions, timeout_ms=int(_METADATA_SECONDS * 1000))
        except (errors.KafkaError, OSError) as error:
            raise self._failure(error, doing) from error
        return {partition.partition: offset for partition, offset in found.items()}

    def _position(self, partition: TopicPartition) -> int | None:
        self._refuse_closed()
        try:
            found = self._consumer.position(partition, timeout_ms=int(_METADATA_SECONDS * 1000))
        except errors.NoOffsetForPartitionError as error:
            self._consumer.seek_to_beginning(*error.args[0])
            return self._position(partition)
        except (errors.KafkaError, OSError) as error:
            raise self._failure(error, "asking for the positions") from error
        return None if found is None else int(found)

    def _find_topic(self) -> bytes:
        try:
            partitions = self._consumer.partitions_for_topic(self._topic)
        except (errors.KafkaError, OSError) as error:
            raise self._converted(error, f"looking for topic {self._topic!r}") from error
        topic_id = self._consumer._cluster.topic_id(self._topic)
        if not partitions or topic_id is None:
            raise missing_topic(self._settings, self._topic)
        return bytes(topic_id.bytes)

    def _refuse_another_topic(self) -> None:
        topic_id = self._consumer._cluster.topic_id(self._topic)
        if topic_id is not None and topic_id.bytes != self._topic_id:
            raise TopicGoneError(f"topic {self._topic!r} was deleted and made again while it was open")

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ClosedError("the consumer is closed")

    def _on_revoked(self, partitions: Sequence[int]) -> None:
        # closing in the middle of a rebalance, the client revokes what it has revoked before
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

    def _failure(self, error: Exception, doing: str) -> Exception:
        """Return our error, or what a listener raised, which the client wraps."""
        cause = error.__cause__
        return cause if isinstance(cause, Exception) else self._converted(error, doing)

    def _converted(self, error: Exception, doing: str) -> EventLogError:
        return converted(error, self._settings, f"{self._topic}: {doing}")


def _options(settings: EventLogSettings, group: str) -> dict[str, Any]:
    session_ms = int(settings.kafka_session_seconds * 1000)
    return client_options(settings) | {
        "metrics_enabled": False,
        "group_id": group,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "allow_auto_create_topics": False,
        # eager: all is revoked before the group is joined again, while what was read can still be committed
        "partition_assignment_strategy": [RangePartitionAssignor],
        "session_timeout_ms": session_ms,
        "heartbeat_interval_ms": min(1000, session_ms // _HEARTBEATS_PER_SESSION),
        "fetch_max_wait_ms": int(_FETCH_WAIT_SECONDS * 1000),
    }
