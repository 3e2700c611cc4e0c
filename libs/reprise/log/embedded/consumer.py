"""The embedded log's consumer."""

import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from reprise.log.embedded.consumer_group import Membership, read_committed, write_committed
from reprise.log.embedded.partition_file import PartitionReader
from reprise.log.embedded.topic_directory import TopicDirectory
from reprise.log.exceptions import ClosedError, LogUnavailableError, NotAssignedError, TopicGoneError
from reprise.log.interface import RebalanceListener, Record
from reprise.log.topics import Topic

_REBALANCE_SECONDS = 0.5
_SLEEP_SECONDS = 0.005


class EmbeddedConsumer:
    """Reads one topic's partitions from their files; see ``LogConsumer``."""

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
        self._folder = self._directory.group(group)
        self._listener = listener
        self._fsync = fsync
        self._readers: dict[int, PartitionReader] = {}
        self._turn = itertools.count()
        self._rebalance_at = 0.0
        self._closed = False
        try:
            self._membership = Membership(self._folder, self._directory.partitions)
        except OSError as error:
            raise _unavailable(self._folder, error) from error

    @property
    def topic_id(self) -> bytes:
        """The id of the topic, as its folder has it."""
        return self._directory.topic_id

    @property
    def assignment(self) -> frozenset[int]:
        """The partitions that are read now."""
        return frozenset(self._readers)

    def poll(self, max_records: int, timeout: float) -> Mapping[int, Sequence[Record]]:
        """Return the next records by partition."""
        if max_records < 1:
            raise ValueError(f"max_records: expected at least 1, got {max_records}")
        if self._closed:
            raise ClosedError("the consumer is closed")
        deadline = time.monotonic() + timeout
        try:
            while True:
                self._rebalance_when_due()
                batch = self._read(max_records)
                remaining = deadline - time.monotonic()
                if batch or remaining <= 0:
                    return batch
                time.sleep(min(_SLEEP_SECONDS, remaining))
        except OSError as error:
            raise _unavailable(self._directory.path, error) from error

    def positions(self) -> Mapping[int, int]:
        """Return the offset that is returned next, by assigned partition."""
        return {partition: reader.next_offset for partition, reader in self._readers.items()}

    def begin_offsets(self) -> Mapping[int, int]:
        """Return 0 for each assigned partition: this log deletes nothing."""
        return dict.fromkeys(self._readers, 0)

    def end_offsets(self) -> Mapping[int, int]:
        """Return the offset that is written next, by assigned partition."""
        try:
            return {partition: reader.end_offset() for partition, reader in self._readers.items()}
        except OSError as error:
            raise _unavailable(self._directory.path, error) from error

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Replace the group's offsets of these partitions."""
        foreign = sorted(offsets.keys() - self._readers.keys())
        if foreign:
            raise NotAssignedError(
                f"partitions {foreign} are not assigned; assigned: {sorted(self._readers)}"
            )
        try:
            for partition, offset in offsets.items():
                write_committed(self._folder, partition, offset, fsync=self._fsync)
        except OSError as error:
            raise _unavailable(self._folder, error) from error

    def close(self) -> None:
        """Give up all partitions."""
        if self._closed:
            return
        self._closed = True
        try:
            self._revoke(sorted(self._readers))
        finally:
            for reader in self._readers.values():
                reader.close()
            self._readers.clear()
            self._membership.leave()

    def _read(self, max_records: int) -> dict[int, Sequence[Record]]:
        batch: dict[int, Sequence[Record]] = {}
        partitions = sorted(self._readers)
        if not partitions:
            return batch
        # whoever is first may take all, so each is first in its turn
        first = next(self._turn) % len(partitions)
        marks = {partition: reader.mark() for partition, reader in self._readers.items()}
        try:
            for partition in partitions[first:] + partitions[:first]:
                records = self._readers[partition].read(max_records)
                if records:
                    batch[partition] = records
                    max_records -= len(records)
                    if max_records == 0:
                        break
        except BaseException:
            # what was read from other partitions will not be returned, so it must be read again
            for partition, mark in marks.items():
                self._readers[partition].rewind(mark)
            raise
        return batch

    def _rebalance_when_due(self) -> None:
        now = time.monotonic()
        if now < self._rebalance_at:
            return
        self._rebalance_at = now + _REBALANCE_SECONDS
        if any(reader.deleted for reader in self._readers.values()) or not self._directory.path.exists():
            raise TopicGoneError(f"{self._directory.path} was removed while it was open")
        self._revoke(self._membership.excess())
        taken = self._membership.take_free()
        try:
            for partition in taken:
                self._readers[partition] = self._reader(partition)
        except Exception:
            for partition in taken:
                self._give_back(partition)
            raise
        if taken and self._listener is not None:
            self._listener.assigned(taken)

    def _reader(self, partition: int) -> PartitionReader:
        path, index = self._directory.log_file(partition), self._directory.index(partition)
        return PartitionReader(path, index, partition, read_committed(self._folder, partition))

    def _revoke(self, partitions: Sequence[int]) -> None:
        if not partitions:
            return
        if self._listener is not None:
            self._listener.revoked(partitions)
        for partition in partitions:
            self._give_back(partition)

    def _give_back(self, partition: int) -> None:
        reader = self._readers.pop(partition, None)
        if reader is not None:
            reader.close()
        self._membership.release(partition)


def _unavailable(path: Path, error: OSError) -> LogUnavailableError:
    return LogUnavailableError(f"{path}: {error.strerror or error}")
