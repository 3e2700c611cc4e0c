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
from reprise.store.online_store import GuardedWrite, OnlineStore
from reprise.store.settings import OnlineStoreSettings
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


class ForgetfulStore(OnlineStore):
    """A store; given a cluster, a primary dies right after the next write of rows, which its replica lacks."""

    cluster: RedisCluster | None = None

    def write_guarded(self, writes: Sequence[GuardedWrite]) -> list[bool]:
        cluster, self.cluster = self.cluster, None
        if cluster is None:
            return super().write_guarded(writes)
        primary = cluster.primaries()[0]
        replica = cluster.replica_of(primary)
        with replica.frozen():
            command(primary, "CLIENT", "KILL", "TYPE", "replica")
            done = super().write_guarded(writes)
            primary.stop()
        cluster.wait_until_primary(replica)
        return done


@pytest.fixture
def cluster() -> Iterator[RedisCluster]:
    with running_redis_cluster() as cluster:
        yield cluster


def store_of(cluster: RedisCluster, replicas: int) -> ForgetfulStore:
    return ForgetfulStore.connect(
        OnlineStoreSettings(
            redis_type="redis_cluster",
            redis_host=cluster.host,
            redis_port=cluster.port,
            redis_nodes=cluster.nodes,
            redis_wait_replicas=replicas,
        )
    )


def fold(plan: Plan, store: OnlineStore, records: Sequence[Record]) -> None:
    metrics = MaterializerMetrics(CollectorRegistry())
    fold = BatchFold(plan, store, PROJECT, metrics, WINDOW, ArrivalWindow(300.0), refuse_none)
    fold.fold(TOPIC, {0: records})


def test_a_batch_whose_primary_died_is_not_done_and_folds_again_to_the_batch_states(
    cluster: RedisCluster,
) -> None:
    plan, events = Plan.load(PLAN_FILE), make_events(200)
    records = as_partitions(events, 1)[0]
    with store_of(cluster, replicas=1) as store:
        fold(plan, store, records[:100])
        store.cluster = cluster
        with pytest.raises(StoreUnavailableError, match="wait for replicas at"):
            fold(plan, store, records[100:])
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
        store.cluster = cluster
        for _ in range(2):
            fold(plan, store, records)
        with pytest.raises(AssertionError, match="user"):
            assert_store_holds(store, plan, batch_states(plan, events))
