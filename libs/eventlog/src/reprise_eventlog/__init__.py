"""The partitioned log that events flow through."""

from reprise_eventlog.exceptions import (
    BufferFullError,
    ClosedError,
    CorruptLogError,
    EventLogError,
    LogTimeoutError,
    LogUnavailableError,
    NotAssignedError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
    TopicGoneError,
    UnknownTopicError,
)
from reprise_eventlog.factory import open_consumer, open_producer
from reprise_eventlog.interface import LogConsumer, LogProducer, RebalanceListener
from reprise_eventlog.records import Position, Record
from reprise_eventlog.settings import EventLogSettings
from reprise_eventlog.topics import DEAD_LETTERS, EVENTS, PREDICTIONS, TOPICS, Topic

__all__ = [
    "DEAD_LETTERS",
    "EVENTS",
    "PREDICTIONS",
    "TOPICS",
    "BufferFullError",
    "ClosedError",
    "CorruptLogError",
    "EventLogError",
    "EventLogSettings",
    "LogConsumer",
    "LogProducer",
    "LogTimeoutError",
    "LogUnavailableError",
    "NotAssignedError",
    "OffsetOutOfRangeError",
    "Position",
    "RebalanceListener",
    "Record",
    "RecordTooLargeError",
    "Topic",
    "TopicGoneError",
    "UnknownTopicError",
    "open_consumer",
    "open_producer",
]
