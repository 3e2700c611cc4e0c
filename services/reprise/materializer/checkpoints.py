"""How far the store has the log: in the store itself, so that it is lost with what the store loses.

A Redis that crashes, or a replica that takes its place, may lack the last writes that it acknowledged, although their
offsets are committed. It has all writes up to some instant: so it has an earlier checkpoint, too.

This can happen in the middle of a batch. What was lost is looked up once, so the batch has to stay on the connection of
that look-up: an event that is merged into a row without the lost ones moves the row's watermark past them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from reprise.log import Record
from reprise.store.online_store import OnlineStore


class Checkpoints:
    """The offsets before which the store has everything of a consumer group, by partition.

    Not for Redis Cluster, whose nodes lose different writes; there, writes can wait for replicas.
    """

    def __init__(self, store: OnlineStore, project: str, group: str) -> None:
        self._store = store
        self._prefix = f"settled:{project}:{group}:"

    def lost(self, topic_id: bytes, polled: Mapping[int, Sequence[Record]]) -> dict[int, range]:
        """Return the offsets before the polled records of which the store lacks records, by partition.

        A partition without a checkpoint is not among them.

        Raises:
            StoreError: The store is unavailable or refuses.
        """
        partitions = list(polled)
        values = self._store.read_values([self._key(topic_id, partition) for partition in partitions])
        spans = {
            p: range(int(value), polled[p][0].offset - polled[p][0].absent)
            for p, value in zip(partitions, values, strict=True)
            if value is not None
        }
        return {p: span for p, span in spans.items() if span}

    @contextmanager
    def advance(self, topic_id: bytes, offsets: Mapping[int, int]) -> Iterator[None]:
        """Set the checkpoints after the block, which writes everything before them on the connection of ``lost``.

        Raises:
            StoreError: The store is unavailable or refuses, or the connection was lost: call ``lost`` again.
        """
        values = {self._key(topic_id, partition): b"%d" % offset for partition, offset in offsets.items()}
        with self._store.transport.without_reconnect():
            yield
            self._store.write_values(values)

    def _key(self, topic_id: bytes, partition: int) -> bytes:
        return f"{self._prefix}{topic_id.hex()}:{partition}".encode()
