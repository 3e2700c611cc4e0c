"""Errors of this package; what the log's own implementation raises is converted to these."""

from pathlib import Path

from reprise.runtime.exceptions import RepriseError


class EventLogError(RepriseError):
    """Root of this package's errors."""


class LogUnavailableError(EventLogError):
    """The log cannot be reached, or did not take what it was given; trying again later may work."""


class BufferFullError(EventLogError):
    """More is waiting to be written than the producer may hold; try again when some of it is."""


class LogTimeoutError(EventLogError):
    """The log did not answer in the time it was given."""


class ClosedError(EventLogError):
    """The producer or consumer was closed before."""


class RecordTooLargeError(EventLogError):
    """A record is larger than the log takes."""


class UnknownTopicError(EventLogError):
    """A topic that is not declared in ``reprise.log.topics``."""

    def __init__(self, topic: str, known: list[str]) -> None:
        self.topic = topic
        super().__init__(f"topic {topic!r} is not declared; expected one of {', '.join(known)}")


class TopicGoneError(EventLogError):
    """The topic was deleted, or deleted and made again, while it was open; open it anew."""


class NotAssignedError(EventLogError):
    """A commit for partitions that this consumer does not hold (any more)."""


class OffsetOutOfRangeError(EventLogError):
    """The group's offset is not in the partition: what it is to read was deleted, or what it has read was lost."""


class CorruptLogError(EventLogError):
    """Bytes in the middle of a partition are not what was written."""

    def __init__(self, path: Path, position: int, reason: str) -> None:
        self.path = path
        self.position = position
        super().__init__(f"{path}: corrupt at byte {position:,}: {reason}")
