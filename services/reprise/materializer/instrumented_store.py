"""The online store, with how it answers measured."""

from collections.abc import Sequence
from datetime import timedelta

from reprise.http.dependency_metrics import Dependency
from reprise.materializer.batch_fold import FoldStore
from reprise.store.feast.codec import ViewCodec
from reprise.store.online_store import GuardedWrite, StoredRow
from reprise.store.transport.server import ReplicationIds


class MeasuredStore:
    """Asks another store, and notes how long that took and what failed."""

    def __init__(self, store: FoldStore, dependency: Dependency) -> None:
        self._store = store
        self._dependency = dependency

    def read(self, rows: Sequence[tuple[ViewCodec, bytes]]) -> list[StoredRow]:
        """Return the rows with these keys."""
        with self._dependency.timed():
            return self._store.read(rows)

    def write_guarded(self, writes: Sequence[GuardedWrite]) -> list[bool]:
        """Write the rows whose watermarks are as expected, and say which were."""
        with self._dependency.timed():
            return self._store.write_guarded(writes)

    def claim_event_ids(self, entries: Sequence[tuple[str, bytes]], ttl: timedelta) -> list[bytes]:
        """Remember where each event was first seen, and return that."""
        with self._dependency.timed():
            return self._store.claim_event_ids(entries, ttl)

    def replication_ids(self) -> ReplicationIds:
        """Return which servers hold the store now."""
        with self._dependency.timed():
            return self._store.replication_ids()

    def wait_for_replicas(self, replication_ids: ReplicationIds) -> None:
        """Wait until replicas have all that was read and written since the replication ids were taken."""
        with self._dependency.timed():
            self._store.wait_for_replicas(replication_ids)
