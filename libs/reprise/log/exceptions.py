"""Errors of the event log; those of Kafka's client, SQLite and the file system are converted to these."""

from collections.abc import Iterable
from pathlib import Path

from reprise.runtime.exceptions import RepriseError


class EventLogError(RepriseError):
    """Root of this package's errors."""


class LogUnavailableError(EventLogError):
    """The log cannot be reached or failed to write; a retry may succeed."""


class LogRefusedError(EventLogError):
    """The log refuses a request because of access rights or configuration; a retry does not help."""


class BufferFullError(EventLogError):
    """The producer's buffer is full; retry once some of it is written."""


class LogTimeoutError(EventLogError):
    """The log did not answer in time."""


class ClosedError(EventLogError):
    """The producer or consumer is closed."""


class RecordTooLargeError(EventLogError):
    """A record exceeds the maximum size."""


class TopicGoneError(EventLogError):
    """The topic was deleted, or deleted and recreated, while it was open; reopen it."""


class NotAssignedError(EventLogError):
    """A commit for partitions that are not, or no longer, assigned to this consumer."""

    @classmethod
    def check(cls, partitions: Iterable[int], assigned: Iterable[int]) -> None:
        """Raise this error if some of the partitions are not assigned."""
        foreign = sorted(set(partitions) - set(assigned))
        if foreign:
            raise cls(f"partitions {foreign} are not assigned; assigned: {sorted(assigned)}")


class OffsetOutOfRangeError(EventLogError):
    """The group's offset is not in the partition: unread records were deleted, or read records were lost."""


class UnreadableRecordsError(EventLogError):
    """Records from an offset on cannot be read: an unknown codec, or damaged bytes; a retry does not help."""

    def __init__(self, topic: str, partition: int, offset: int, error: Exception) -> None:
        self.partition = partition
        self.offset = offset
        reason = f"{type(error).__name__}: {error}"
        super().__init__(f"{topic}, partition {partition}: offset {offset} cannot be read: {reason}")


class CorruptLogError(EventLogError):
    """The embedded log's files are damaged."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        super().__init__(f"{path}: corrupt: {reason}")
