"""Materializers on a Redis Cluster whose primaries change and die under load: nothing lost, nothing doubled.

The full dose runs with ``REPRISE_SOAK=1``.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reprise.features.plan import Plan
from reprise.store.online_store import OnlineStore
from reprise.store.settings import OnlineStoreSettings
from support.collection import SOAK
from support.histories import PLAN_FILE, assert_store_holds, batch_states, make_events
from support.kafka import KafkaBroker
from support.killing import Load, Workers
from support.redis import MISSING, redis_server_path
from support.redis_cluster import RedisCluster, running_redis_cluster

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.slow]

ROUNDS = 15 if SOAK else 1
RATE = 400


@pytest.fixture
def durable_cluster() -> Iterator[RedisCluster]:
    if redis_server_path() is None:
        pytest.skip(MISSING)
    with running_redis_cluster("--appendonly", "yes", "--appendfsync", "everysec") as cluster:
        yield cluster


def test_state_is_the_batch_executors_whichever_primary_dies(
    kafka_broker: KafkaBroker, durable_cluster: RedisCluster, tmp_path: Path
) -> None:
    rng = random.Random(7)
    load = Load(kafka_broker, make_events(RATE * 40 * ROUNDS, users=60, products=25), RATE)
    store_environment = {
        "REDIS_TYPE": "redis_cluster",
        "REDIS_HOST": durable_cluster.host,
        "REDIS_PORT": str(durable_cluster.port),
        "REDIS_NODES": durable_cluster.nodes,
        "REDIS_TIMEOUT": "2",
    }
    workers = Workers(kafka_broker, store_environment, tmp_path)
    try:
        workers.start()
        workers.start()
        load.start()
        workers.wait_until_folding(kafka_broker)
        for _ in range(ROUNDS):
            durable_cluster.fail_over(rng.choice(durable_cluster.primaries()))
            time.sleep(rng.uniform(0.5, 1.5))
            victim = rng.choice(durable_cluster.primaries())
            successor = durable_cluster.replica_of(victim)
            victim.stop()
            workers.kill(rng)
            workers.start()
            durable_cluster.wait_until_primary(successor)
            victim.start()
            durable_cluster.wait_until_whole()
            time.sleep(rng.uniform(0.5, 1.5))
        events = load.finish()
        workers.wait_until_folded(kafka_broker)
        workers.end()
    finally:
        load.finish()
        workers.abandon()
    assert len(events) > 500 * ROUNDS
    plan = Plan.load(PLAN_FILE)
    settings = OnlineStoreSettings(
        redis_type="redis_cluster", redis_host=durable_cluster.host, redis_port=durable_cluster.port
    )
    with OnlineStore.connect(settings) as store:
        assert assert_store_holds(store, plan, batch_states(plan, events)) > 5_000
