"""A server that dies in the middle of a batch, with writes that its successor does not have."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from reprise.events import ArrivalWindow
from reprise.features.plan import Plan
from reprise.log import EVENTS, Record, open_consumer
from reprise.materializer.batch_fold import BatchFold
from reprise.materializer.checkpoints import Checkpoints
from reprise.materializer.metrics import MaterializerMetrics
from reprise.materializer.settings import MaterializerSettings
from reprise.materializer.worker import Worker
from reprise.store.exceptions import StoreUnavailableError
from reprise.store.online_store import GuardedWrite, OnlineStore
from reprise.store.settings import OnlineStoreSettings
from support.embedded_shop import EmbeddedShop
from support.histories import (
    PLAN_FILE,
    PROJECT,
    as_partitions,
    assert_store_holds,
    batch_states,
    make_events,
    refuse_none,
)
from support.redis import RedisServer, running_redis
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


class RestartedStore(OnlineStore):
    """A store; given a server, it restarts with its last snapshot before the next write of rows."""

    server: RedisServer | None = None

    def write_guarded(self, writes: Sequence[GuardedWrite]) -> list[bool]:
        server, self.server = self.server, None
        if server is not None:
            server.stop()
            server.start()
        return super().write_guarded(writes)


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


def fold_of(plan: Plan, store: OnlineStore, metrics: MaterializerMetrics) -> BatchFold:
    return BatchFold(plan, store, PROJECT, metrics, WINDOW, ArrivalWindow(300.0), refuse_none)


def fold(plan: Plan, store: OnlineStore, records: Sequence[Record]) -> None:
    fold_of(plan, store, MaterializerMetrics(CollectorRegistry())).fold(TOPIC, {0: records})


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


def test_what_a_single_server_loses_in_the_middle_of_a_batch_is_folded_again(tmp_path: Path) -> None:
    plan, events = Plan.load(PLAN_FILE), make_events(120, users=4)
    settings = MaterializerSettings(retry_seconds=0.01)
    metrics = MaterializerMetrics(CollectorRegistry())
    with running_redis() as server, RestartedStore.connect(server.settings()) as store:
        shop = EmbeddedShop(tmp_path, server)
        shop.append(events[:40])
        shop.fold()
        server.client().save()
        shop.append(events[40:80])
        shop.fold()
        shop.append(events[80:])
        with closing(open_consumer(shop.log, EVENTS, settings.group)) as consumer:
            store.server = server
            checkpoints = Checkpoints(store, PROJECT, settings.group)
            worker = Worker(consumer, fold_of(plan, store, metrics), metrics, settings, checkpoints)
            worker.run_until_idle(threading.Event(), 0.01)
        assert_store_holds(store, plan, batch_states(plan, events))
