"""Materializers on a Redis Cluster whose primaries change and die under load: nothing lost, nothing doubled."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reprise.store.settings import OnlineStoreSettings
from support.histories import make_events
from support.kafka import KafkaBroker
from support.killing import folding
from support.redis_cluster import RedisCluster, running_redis_cluster

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.slow, pytest.mark.soak]

ROUNDS = 15
RATE = 400


@pytest.fixture
def durable_cluster() -> Iterator[RedisCluster]:
    with running_redis_cluster("--appendonly", "yes", "--appendfsync", "everysec") as cluster:
        yield cluster


def test_state_is_the_batch_executors_whichever_primary_dies(
    kafka_broker: KafkaBroker, durable_cluster: RedisCluster, tmp_path: Path
) -> None:
    rng = random.Random(7)
    events = make_events(RATE * 40 * ROUNDS, users=60, products=25)
    settings = OnlineStoreSettings(
        redis_type="redis_cluster",
        redis_host=durable_cluster.host,
        redis_port=durable_cluster.port,
        redis_nodes=durable_cluster.nodes,
        redis_timeout=2,
    )
    with folding(kafka_broker, settings, tmp_path, events, RATE) as (load, workers):
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
    assert load.sent > 500 * ROUNDS
