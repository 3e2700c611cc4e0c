"""The interface that Kafka and the embedded log share.

An append is asynchronous and returns a ``concurrent.futures.Future``, which threads and asyncio can both wait for. A
consumer is synchronous and belongs to one thread. Rebalances happen only inside ``poll`` and ``close``, so partitions
cannot be revoked while a batch is processed.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol

from reprise.log.exceptions import LogTimeoutError

MAX_RECORD_BYTES = 1024 * 1024
"""Maximum size of a record: Kafka's default ``message.max.bytes``."""


class Record(NamedTuple):
    """One record as a consumer reads it.

    ``absent`` is the number of offsets before it that hold no record for a reader: transaction markers, records of
    aborted transactions, and compacted ones. ``timestamp_ms`` is the time of the append, milliseconds since 1970-01-01
    UTC. The key determines the partition.
    """

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes
    absent: int = 0


class Position(NamedTuple):
    """Partition and offset of an appended record."""

    partition: int
    offset: int


class LogProducer(Protocol):
    """Appends records; thread-safe."""

    def append(self, topic: str, key: bytes, value: bytes) -> Future[Position]:
        """Queue a record for a declared topic; never blocks.

        Records with the same key go to the same partition, in call order. The future resolves to the record's
        position once the log has acknowledged it, or fails with an ``EventLogError``. A failed record may have
        been written.

        Raises:
            BufferFullError: The buffer is full.
            RecordTooLargeError: The record exceeds the maximum size.
            LogUnavailableError: The log is known to be down; nothing was queued.
            ClosedError: The producer is closed.
        """

    def buffered(self) -> int:
        """Return the number of unacknowledged records."""

    def problem(self) -> str | None:
        """Return why an append would fail now, or ``None``."""

    def flush(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until every appended record is acknowledged or has failed.

        Raises:
            LogTimeoutError: Records are still unacknowledged.
        """

    def close(self, timeout: float) -> None:
        """Flush, then release all resources; records unacknowledged after ``timeout`` seconds fail. Idempotent."""


def acknowledged(future: Future[Position], topic: str, timeout: float) -> Position:
    """Return the position of an appended record, once the log has acknowledged it.

    Raises:
        LogTimeoutError: The log has not within ``timeout`` seconds.
        EventLogError: The record failed.
    """
    try:
        return future.result(timeout)
    except TimeoutError as error:
        raise LogTimeoutError(f"{topic}: not acknowledged within {timeout:g} s") from error


class RebalanceListener(Protocol):
    """Callbacks of a rebalance, on the consumer's thread, inside ``poll`` and ``close``."""

    def revoked(self, partitions: Sequence[int]) -> None:
        """Handle revoked partitions; this is the last chance to commit their offsets."""

    def assigned(self, partitions: Sequence[int]) -> None:
        """Handle assigned partitions, which are read from the group's committed offsets."""


class LogConsumer(Protocol):
    """Reads the partitions of one topic that its consumer group assigns to it; not thread-safe.

    Methods and properties raise ``LogUnavailableError`` where the log cannot be reached, ``LogRefusedError`` where it
    refuses a request for good.
    """

    @property
    def topic_id(self) -> bytes:
        """The topic's 16-byte id; a recreated topic has another."""

    @property
    def partitions(self) -> int:
        """The topic's number of partitions, which may differ from its declaration."""

    @property
    def assignment(self) -> frozenset[int]:
        """The assigned partitions; changes only inside ``poll`` and ``close``."""

    def poll(self, max_records: int, timeout: float) -> Mapping[int, Sequence[Record]]:
        """Return up to ``max_records`` records by partition, in offset order; empty after ``timeout`` seconds.

        Raises:
            TopicGoneError: The topic was deleted.
            OffsetOutOfRangeError: The next offset was deleted before it was read, or lies past the partition's end.
            UnreadableRecordsError: Records cannot be read. Their partition is not read any more until it is
                assigned again; all others are.
            CorruptLogError: The log's files are damaged.
            ClosedError: The consumer is closed.
        """

    def positions(self) -> Mapping[int, int]:
        """Return the next offset to read, by assigned partition."""

    def beginning_offsets(self) -> Mapping[int, int]:
        """Return the first offset that the log retains, by assigned partition."""

    def end_offsets(self) -> Mapping[int, int]:
        """Return the end of what can be read, by assigned partition; minus the position, it is the lag.

        It is the next offset to be written, or the beginning of the first transaction that is open.
        """

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Continue reading at these offsets, by partition.

        Raises:
            NotAssignedError: A partition is not assigned to this consumer; nothing was changed.
        """

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Commit the group's next offset to read, by partition.

        Raises:
            NotAssignedError: A partition is no longer assigned to this consumer; nothing was committed.
        """

    def close(self) -> None:
        """Leave the group without a commit. Idempotent."""
