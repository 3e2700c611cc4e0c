"""The partitioned event log, in Kafka or embedded in a folder."""

from reprise.log.backend import open_consumer, open_producer
from reprise.log.exceptions import (
    BufferFullError,
    ClosedError,
    CorruptLogError,
    EventLogError,
    LogRefusedError,
    LogTimeoutError,
    LogUnavailableError,
    NotAssignedError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
    TopicGoneError,
    UnreadableRecordsError,
)
from reprise.log.interface import (
    LogConsumer,
    LogProducer,
    Position,
    RebalanceListener,
    Record,
    acknowledged,
)
from reprise.log.settings import ClockSettings, EventLogSettings, MetadataSettings
from reprise.log.topics import DEAD_LETTERS, EVENTS, PREDICTIONS, TOPICS, Topic
from reprise.log.unreadable import UnreadablePartitions

__all__ = [
    "DEAD_LETTERS",
    "EVENTS",
    "PREDICTIONS",
    "TOPICS",
    "BufferFullError",
    "ClockSettings",
    "ClosedError",
    "CorruptLogError",
    "EventLogError",
    "EventLogSettings",
    "LogConsumer",
    "LogProducer",
    "LogRefusedError",
    "LogTimeoutError",
    "LogUnavailableError",
    "MetadataSettings",
    "NotAssignedError",
    "OffsetOutOfRangeError",
    "Position",
    "RebalanceListener",
    "Record",
    "RecordTooLargeError",
    "Topic",
    "TopicGoneError",
    "UnreadablePartitions",
    "UnreadableRecordsError",
    "acknowledged",
    "open_consumer",
    "open_producer",
]
