"""The embedded log's consumer."""

import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from reprise.log.embedded.consumer_group import GroupMember
from reprise.log.embedded.topic_database import TopicDatabase
from reprise.log.exceptions import ClosedError, NotAssignedError, TopicGoneError
from reprise.log.interface import RebalanceListener, Record
from reprise.log.topics import Topic

_REBALANCE_SECONDS = 0.5
_SLEEP_SECONDS = 0.005


class EmbeddedConsumer:
    """Reads the partitions of one topic from its database; see ``LogConsumer``."""

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
        self._rebalance_at = 0.0
        self._closed = False
        self._database = TopicDatabase(log_dir, topic, fsync=fsync)
        try:
            self._member = GroupMember(self._database, group)
        except BaseException:
            self._database.close()
            raise

    @property
    def topic_id(self) -> bytes:
        """The topic's id."""
        return self._database.topic_id

    @property
    def partitions(self) -> int:
        """The number of partitions that the topic was created with."""
        return self._database.partitions

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
            self._rebalance_when_due()
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
        self._member.commit(offsets)

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
            try:
                self._member.leave()
            finally:
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
        # only now: after a failed read, the records of the other partitions must be read again
        self._positions.update((partition, records[-1].offset + 1) for partition, records in batch.items())
        return batch

    def _rebalance_when_due(self) -> None:
        now = time.monotonic()
        if now < self._rebalance_at:
            return
        self._rebalance_at = now + _REBALANCE_SECONDS
        if self._database.removed:
            raise TopicGoneError(f"{self._database.folder} was removed while it was open")
        share = self._member.share()
        excess = sorted(self._positions)[share:]
        if excess:
            if self._listener is not None:
                self._listener.revoked(excess)
            self._member.release(excess)
            for partition in excess:
                del self._positions[partition]
        elif len(self._positions) < share:
            acquired = self._member.acquire(share - len(self._positions))
            self._positions.update(acquired)
            if acquired and self._listener is not None:
                self._listener.assigned(sorted(acquired))
