"""The embedded log's consumer."""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from reprise.log.embedded.consumer_group import GroupMember, read_committed, write_committed
from reprise.log.embedded.partition_file import PartitionReader
from reprise.log.embedded.topic_directory import TopicDirectory
from reprise.log.exceptions import ClosedError, LogUnavailableError, NotAssignedError, TopicGoneError
from reprise.log.interface import RebalanceListener, Record
from reprise.log.topics import Topic

_REBALANCE_SECONDS = 0.5
_SLEEP_SECONDS = 0.005


class EmbeddedConsumer:
    """Reads the partitions of one topic from their files; see ``LogConsumer``."""

    def __init__(
        self,
        log_dir: Path,
        topic: Topic,
        group: str,
        *,
        listener: RebalanceListener | None = None,
        fsync: bool = False,
    ) -> None:
        self._directory = TopicDirectory.open(log_dir, topic)
        self._group = self._directory.group(group)
        self._listener = listener
        self._fsync = fsync
        self._readers: dict[int, PartitionReader] = {}
        self._polls = itertools.count()
        self._rebalance_at = 0.0
        self._closed = False
        with _os_errors_converted(self._group):
            self._member = GroupMember(self._group, self._directory.partitions)

    @property
    def topic_id(self) -> bytes:
        """The topic's id."""
        return self._directory.topic_id

    @property
    def assignment(self) -> frozenset[int]:
        """The assigned partitions."""
        return frozenset(self._readers)

    def poll(self, max_records: int, timeout: float) -> Mapping[int, Sequence[Record]]:
        """Return the next records by partition."""
        if max_records < 1:
            raise ValueError(f"max_records: expected at least 1, got {max_records}")
        if self._closed:
            raise ClosedError("the consumer is closed")
        deadline = time.monotonic() + timeout
        with _os_errors_converted(self._directory.path):
            while True:
                self._rebalance_when_due()
                batch = self._read(max_records)
                remaining = deadline - time.monotonic()
                if batch or remaining <= 0:
                    return batch
                time.sleep(min(_SLEEP_SECONDS, remaining))

    def positions(self) -> Mapping[int, int]:
        """Return the next offset to read, by assigned partition."""
        return {partition: reader.next_offset for partition, reader in self._readers.items()}

    def beginning_offsets(self) -> Mapping[int, int]:
        """Return 0 for each assigned partition: the embedded log deletes nothing."""
        return dict.fromkeys(self._readers, 0)

    def end_offsets(self) -> Mapping[int, int]:
        """Return the next offset to be written, by assigned partition."""
        with _os_errors_converted(self._directory.path):
            return {partition: reader.end_offset() for partition, reader in self._readers.items()}

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Replace the group's committed offsets of these partitions."""
        NotAssignedError.check(offsets, self._readers)
        with _os_errors_converted(self._group):
            write_committed(self._group, offsets, fsync=self._fsync)

    def close(self) -> None:
        """Release all partitions and leave the group."""
        if self._closed:
            return
        self._closed = True
        try:
            self._revoke(sorted(self._readers))
        finally:
            for reader in self._readers.values():
                reader.close()
            self._readers.clear()
            self._member.leave()

    def _read(self, max_records: int) -> dict[int, Sequence[Record]]:
        batch: dict[int, Sequence[Record]] = {}
        partitions = sorted(self._readers)
        if not partitions:
            return batch
        # round robin: the first partition may use up max_records
        first = next(self._polls) % len(partitions)
        places = {partition: reader.tell() for partition, reader in self._readers.items()}
        try:
            for partition in partitions[first:] + partitions[:first]:
                records = self._readers[partition].read(max_records)
                if records:
                    batch[partition] = records
                    max_records -= len(records)
                    if max_records == 0:
                        break
        except BaseException:
            # records already read from other partitions are not returned, so they must be read again
            for partition, place in places.items():
                self._readers[partition].seek(place)
            raise
        return batch

    def _rebalance_when_due(self) -> None:
        now = time.monotonic()
        if now < self._rebalance_at:
            return
        self._rebalance_at = now + _REBALANCE_SECONDS
        if any(reader.deleted for reader in self._readers.values()) or not self._directory.path.exists():
            raise TopicGoneError(f"{self._directory.path} was removed while it was open")
        self._revoke(self._member.excess())
        acquired = self._member.acquire_free()
        try:
            for partition in acquired:
                self._readers[partition] = PartitionReader(
                    self._directory.log_file(partition),
                    self._directory.index(partition),
                    partition,
                    read_committed(self._group, partition),
                )
        except Exception:
            for partition in acquired:
                self._release(partition)
            raise
        if acquired and self._listener is not None:
            self._listener.assigned(acquired)

    def _revoke(self, partitions: Sequence[int]) -> None:
        if partitions and self._listener is not None:
            self._listener.revoked(partitions)
        for partition in partitions:
            self._release(partition)

    def _release(self, partition: int) -> None:
        reader = self._readers.pop(partition, None)
        if reader is not None:
            reader.close()
        self._member.release(partition)


@contextmanager
def _os_errors_converted(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LogUnavailableError.from_os_error(path, error) from error
