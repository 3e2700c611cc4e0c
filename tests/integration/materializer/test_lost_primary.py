"""A primary of a cluster that dies with writes which its replica never got, in the middle of a batch."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from reprise.events import ArrivalWindow
from reprise.features.plan import Plan
from reprise.log import Record
from reprise.materializer.batch_fold import BatchFold
from reprise.materializer.metrics import MaterializerMetrics
from reprise.store.exceptions import StoreUnavailableError
from reprise.store.feast.codec import ViewCodec
from reprise.store.online_store import GuardedWrite, OnlineStore, StoredRow
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.blocking import ReplicationIds
from support.histories import (
    PLAN_FILE,
    PROJECT,
    as_partitions,
    assert_store_holds,
    batch_states,
    make_events,
    refuse_none,
)
from support.redis_cluster import RedisCluster, command, running_redis_cluster

pytestmark = pytest.mark.redis

TOPIC = bytes(range(16))
WINDOW = timedelta(days=1)


class ForgetfulStore:
    """Passes on to a real store; a primary dies right after the first write of rows, which its replica lacks."""

    def __init__(self, store: OnlineStore, cluster: RedisCluster) -> None:
        self._store = store
        self._cluster = cluster
        self._is_whole = True

    def write_guarded(self, writes: Sequence[GuardedWrite]) -> list[bool]:
        if not self._is_whole:
            return self._store.write_guarded(writes)
        self._is_whole = False
        primary = self._cluster.primaries()[0]
        replica = self._cluster.replica_of(primary)
        with replica.frozen():
            command(primary, "CLIENT", "KILL", "TYPE", "replica")
            done = self._store.write_guarded(writes)
            primary.stop()
        self._cluster.wait_until_primary(replica)
        return done

    def read(self, rows: Sequence[tuple[ViewCodec, bytes]]) -> list[StoredRow]:
        return self._store.read(rows)

    def claim_event_ids(self, entries: Sequence[tuple[str, bytes]], ttl: timedelta) -> list[bytes]:
        return self._store.claim_event_ids(entries, ttl)

    def replication_ids(self) -> ReplicationIds:
        return self._store.replication_ids()

    def wait_for_replicas(self, replication_ids: ReplicationIds) -> None:
        self._store.wait_for_replicas(replication_ids)


@pytest.fixture
def cluster() -> Iterator[RedisCluster]:
    with running_redis_cluster() as cluster:
        yield cluster


def store_of(cluster: RedisCluster, replicas: int) -> OnlineStore:
    return OnlineStore.connect(
        OnlineStoreSettings(
            redis_type="redis_cluster",
            redis_host=cluster.host,
            redis_port=cluster.port,
            redis_nodes=cluster.nodes,
            redis_wait_replicas=replicas,
        )
    )


def fold(plan: Plan, store: object, records: Sequence[Record]) -> None:
    metrics = MaterializerMetrics(CollectorRegistry())
    fold = BatchFold(plan, store, PROJECT, metrics, WINDOW, ArrivalWindow(300.0), refuse_none)  # type: ignore[arg-type]
    fold.fold(TOPIC, {0: records})


def test_a_batch_whose_primary_died_is_not_done_and_folds_again_to_the_batch_states(
    cluster: RedisCluster,
) -> None:
    plan, events = Plan.load(PLAN_FILE), make_events(200)
    records = as_partitions(events, 1)[0]
    with store_of(cluster, replicas=1) as store:
        fold(plan, store, records[:100])
        with pytest.raises(StoreUnavailableError, match="wait for replicas at"):
            fold(plan, ForgetfulStore(store, cluster), records[100:])
        # the dead primary's slots are on a server without a replica now, for which nothing could be settled
    with store_of(cluster, replicas=0) as store:
        fold(plan, store, records[100:])
        assert_store_holds(store, plan, batch_states(plan, events))


@pytest.mark.soak
def test_without_waiting_for_replicas_such_a_batch_is_taken_for_done_and_its_events_are_lost(
    cluster: RedisCluster,
) -> None:
    """What REDIS_WAIT_REPLICAS is for: the events are not folded again, because their pairs hold them."""
    plan, events = Plan.load(PLAN_FILE), make_events(200)
    records = as_partitions(events, 1)[0]
    with store_of(cluster, replicas=0) as store:
        fold(plan, ForgetfulStore(store, cluster), records)
        fold(plan, store, records)
        with pytest.raises(AssertionError, match="user"):
            assert_store_holds(store, plan, batch_states(plan, events))
