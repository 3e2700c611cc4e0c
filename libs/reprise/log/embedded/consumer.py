"""The embedded log's consumer."""

import fcntl
import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from reprise.log.embedded.topic_database import TopicDatabase, errors_converted
from reprise.log.exceptions import ClosedError, NotAssignedError, OffsetOutOfRangeError, TopicGoneError
from reprise.log.interface import RebalanceListener, Record
from reprise.log.topics import Topic

_CHECK_SECONDS = 0.5
_SLEEP_SECONDS = 0.005


class EmbeddedConsumer:
    """Reads a topic from its database; see ``LogConsumer``.

    One consumer of a group has all partitions; the others have none, until it is closed or its process ends.
    """

    def __init__(
        self,
        log_dir: Path,
        topic: Topic,
        group: str,
        *,
        listener: RebalanceListener | None = None,
        fsync: bool = False,
    ) -> None:
        self._listener = listener
        self._positions: dict[int, int] = {}
        self._polls = itertools.count()
        self._check_at = 0.0
        self._closed = False
        self._group = group
        self._database = TopicDatabase(log_dir, topic, fsync=fsync)
        self.topic_id, self.partitions = self._database.topic_id, self._database.partitions
        lock_file = self._database.folder / f"{quote(group, safe='')}.lock"
        try:
            with errors_converted(lock_file):
                self._lock = lock_file.open("wb")
        except BaseException:
            self._database.close()
            raise

    @property
    def assignment(self) -> frozenset[int]:
        """The assigned partitions."""
        return frozenset(self._positions)

    def poll(self, max_records: int, timeout: float) -> Mapping[int, Sequence[Record]]:
        """Return the next records by partition."""
        if self._closed:
            raise ClosedError("the consumer is closed")
        deadline = time.monotonic() + timeout
        while True:
            self._check_when_due()
            batch = self._read(max_records)
            remaining = deadline - time.monotonic()
            if batch or remaining <= 0:
                return batch
            time.sleep(min(_SLEEP_SECONDS, remaining))

    def positions(self) -> Mapping[int, int]:
        """Return the next offset to read, by assigned partition."""
        return dict(self._positions)

    def beginning_offsets(self) -> Mapping[int, int]:
        """Return 0 for each assigned partition: the embedded log deletes nothing."""
        return dict.fromkeys(self._positions, 0)

    def end_offsets(self) -> Mapping[int, int]:
        """Return the next offset to be written, by assigned partition."""
        return {partition: self._database.end_offset(partition) for partition in self._positions}

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Continue reading at these offsets."""
        NotAssignedError.check(offsets, self._positions)
        self._positions.update(offsets)

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Replace the group's committed offsets of these partitions."""
        NotAssignedError.check(offsets, self._positions)
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO positions (consumer_group, partition, committed) VALUES (?, ?, ?)",
                [(self._group, partition, offset) for partition, offset in offsets.items()],
            )

    def close(self) -> None:
        """Release all partitions and leave the group."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._positions and self._listener is not None:
                self._listener.revoked(sorted(self._positions))
        finally:
            self._positions.clear()
            self._lock.close()
            self._database.close()

    def _read(self, max_records: int) -> dict[int, Sequence[Record]]:
        batch: dict[int, Sequence[Record]] = {}
        partitions = sorted(self._positions)
        # round robin: the first partition may use up max_records
        first = next(self._polls) % max(1, len(partitions))
        for partition in partitions[first:] + partitions[:first]:
            records = self._database.read(partition, self._positions[partition], max_records)
            if records:
                batch[partition] = records
                max_records -= len(records)
                if max_records == 0:
                    break
        if batch:
            # a crash of the machine must not give offsets that were read to other records
            self._database.sync()
        # only now: after a failed read, the records of the other partitions must be read again
        self._positions.update((partition, records[-1].offset + 1) for partition, records in batch.items())
        return batch

    def _check_when_due(self) -> None:
        """Check periodically that the topic is still there, and take its partitions once they are free."""
        now = time.monotonic()
        if now < self._check_at:
            return
        self._check_at = now + _CHECK_SECONDS
        if self._database.removed:
            raise TopicGoneError(f"{self._database.folder} was removed while it was open")
        if not self._positions:
            with errors_converted(self._database.folder):
                try:
                    fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return
            self._positions = self._committed()
            if self._listener is not None:
                self._listener.assigned(sorted(self._positions))

    def _committed(self) -> dict[int, int]:
        query = "SELECT partition, committed FROM positions WHERE consumer_group = ?"
        committed = dict.fromkeys(range(self._database.partitions), 0) | dict(
            self._database.query(query, self._group)
        )
        for partition, offset in committed.items():
            if offset > (end := self._database.end_offset(partition)):
                raise OffsetOutOfRangeError(
                    f"{self._database.folder}: partition {partition}: offset {offset:,} was committed,"
                    f" but the partition ends at {end:,}"
                )
        return committed
