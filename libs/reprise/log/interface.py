"""The narrow interface of the log, behind which Kafka and the embedded log are interchangeable.

Appending is asynchronous and its result a ``concurrent.futures.Future``, because that is what both a
background sender thread and an asyncio service can work with. Consuming is synchronous, one thread's loop:
everything that concerns a consumer, rebalances included, happens inside ``poll`` and ``close``, so what is
being worked on between two polls cannot be taken away in the middle.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol


class Record(NamedTuple):
    """One record as it is read back.

    Attributes:
        partition: The partition that holds it.
        offset: Its place in the partition; dense, from 0.
        timestamp_ms: When it was appended, milliseconds since 1970-01-01 UTC.
        key: What chose the partition.
        value: The payload.
    """

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes


class Position(NamedTuple):
    """Where an appended record is."""

    partition: int
    offset: int


class LogProducer(Protocol):
    """Appends records; safe to use from several threads."""

    def append(self, topic: str, key: bytes, value: bytes) -> Future[Position]:
        """Hand a record over; never blocks.

        Records with one key go to one partition, in the order of the calls. The future has the record's
        position once the log has acknowledged it, or ``LogUnavailableError``; in that case the record may
        have been written all the same.

        Raises:
            BufferFullError: Too much is waiting already.
            RecordTooLargeError: The log would not take a record of this size.
            UnknownTopicError: The topic is not declared.
            LogUnavailableError: The log is known to be away, so nothing was handed over.
            ClosedError: The producer was closed.
        """

    def buffered(self) -> int:
        """Return the number of records that wait for their acknowledgement."""

    def problem(self) -> str | None:
        """Return why an append would fail now, or ``None`` when nothing is known to be wrong."""

    def flush(self, timeout: float) -> None:
        """Wait until all that was appended is acknowledged or has failed.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            LogTimeoutError: Records still wait.
        """

    def close(self, timeout: float) -> None:
        """Flush, then free everything; what still waits after ``timeout`` seconds fails. Idempotent."""


class RebalanceListener(Protocol):
    """Is told when partitions come and go; called on the consumer's thread, inside ``poll`` and ``close``."""

    def revoked(self, partitions: Sequence[int]) -> None:
        """Another consumer will get these next; committing for them is possible for the last time."""

    def assigned(self, partitions: Sequence[int]) -> None:
        """These are read from now on, from the group's committed offsets."""


class LogConsumer(Protocol):
    """Reads the partitions of one topic that its group assigns to it; for one thread."""

    @property
    def topic_id(self) -> bytes:
        """The 16 bytes that identify this incarnation of the topic; a topic made anew has another."""

    @property
    def assignment(self) -> frozenset[int]:
        """The partitions that are read now; changes only inside ``poll`` and ``close``."""

    def poll(self, max_records: int, timeout: float) -> Mapping[int, Sequence[Record]]:
        """Return the next records by partition, in offset order; none when none came in time.

        Args:
            max_records: How many records to return at most, over all partitions.
            timeout: Seconds to wait for the first.

        Raises:
            LogUnavailableError: The log cannot be reached.
            TopicGoneError: The topic was deleted.
            OffsetOutOfRangeError: The log has not, or no longer, what is to be read next: it has deleted records that
                the group has not read, or lost some that it has.
            CorruptLogError: The log's files are damaged.
            ClosedError: The consumer was closed.
        """

    def positions(self) -> Mapping[int, int]:
        """Return the offset that is returned next, by assigned partition."""

    def begin_offsets(self) -> Mapping[int, int]:
        """Return the offset of the first record that the log still has, by assigned partition.

        Raises:
            LogUnavailableError: The log cannot be reached.
        """

    def end_offsets(self) -> Mapping[int, int]:
        """Return the offset that is written next, by assigned partition; less the position, it is the lag."""

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Say from which offset each partition is to be read by whoever holds it next.

        Raises:
            NotAssignedError: A partition belongs to another consumer by now; nothing was committed.
            LogUnavailableError: The log cannot be reached.
        """

    def close(self) -> None:
        """Give up all partitions; does not commit. Idempotent."""
