"""Materializers whose processes, Kafka, Redis and partitions change under load: nothing lost, nothing doubled.

The full dose, 50 kills, runs with ``REPRISE_SOAK=1``.
"""

import random
import time
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewPartitions

from reprise.log import EVENTS
from support.collection import SOAK
from support.histories import make_events
from support.kafka import KafkaBroker
from support.killing import committed, dead_letters, folding
from support.redis import RedisServer, running_redis
from support.redis_cluster import running_redis_cluster

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.slow]

KILLS = 50 if SOAK else 2
FAILOVERS = 15
PARTITIONS = 4 * EVENTS.partitions
RATE = 400
SECONDS_BETWEEN = (1.0, 4.0) if SOAK else (0.8, 2.5)


def test_state_is_the_batch_executors_whatever_is_killed(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    rng = random.Random(11)
    events = make_events(RATE * 8 * KILLS, users=60, products=25)
    with (
        running_redis("--appendonly", "yes", "--appendfsync", "always") as redis,
        folding(kafka_broker, redis.settings(), tmp_path, events, RATE) as (load, workers),
    ):
        for number in range(KILLS):
            time.sleep(rng.uniform(*SECONDS_BETWEEN))
            workers.kill(rng)
            while len(workers.running) < 2 + (number % 2):
                workers.start()
            if number % 3 == 1:
                workers.freeze(rng)
            if number == KILLS // 3:
                kafka_broker.kill()
                kafka_broker.start()
            if number == (KILLS + 1) // 2:
                redis.stop()
                time.sleep(0.5)
                redis.start()
    assert load.sent > 100 * KILLS
    assert load.doubled > 0
    assert dead_letters(kafka_broker) >= load.nonsense


@pytest.mark.soak
def test_state_is_the_batch_executors_whichever_primary_of_a_cluster_dies(
    kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    rng = random.Random(7)
    events = make_events(RATE * 40 * FAILOVERS, users=60, products=25)
    with running_redis_cluster("--appendonly", "yes", "--appendfsync", "everysec") as cluster:
        settings = cluster.settings(redis_nodes=cluster.nodes, redis_timeout=2)
        with folding(kafka_broker, settings, tmp_path, events, RATE) as (load, workers):
            for _ in range(FAILOVERS):
                cluster.fail_over(rng.choice(cluster.primaries()))
                time.sleep(rng.uniform(0.5, 1.5))
                victim = rng.choice(cluster.primaries())
                successor = cluster.replica_of(victim)
                victim.stop()
                workers.kill(rng)
                workers.start()
                cluster.wait_until_primary(successor)
                victim.start()
                cluster.wait_until_whole()
                time.sleep(rng.uniform(0.5, 1.5))
    assert load.sent > 500 * FAILOVERS


@pytest.mark.soak
def test_features_are_exact_after_a_pause_in_which_partitions_were_added(
    kafka_broker: KafkaBroker, redis_server: RedisServer, tmp_path: Path
) -> None:
    """While the producers pause: users move to other partitions."""
    events = make_events(RATE * 200, users=60, products=25)
    with folding(kafka_broker, redis_server.settings(), tmp_path, events, RATE) as (load, workers):
        load.pause()
        workers.wait_until_folded(kafka_broker)
        before = load.sent
        admin = KafkaAdminClient(bootstrap_servers=kafka_broker.servers)
        admin.create_partitions({EVENTS.name: NewPartitions(total_count=PARTITIONS)})
        admin.close()
        earlier, workers.running = workers.running, []
        for process in earlier:
            process.terminate()
            assert process.wait(60) == 0
            workers.start()
        load.resume()
        load.wait_until_sent(before + RATE * 5)
    folded = committed(kafka_broker)
    assert len(folded) == PARTITIONS
    assert sum(1 for offset in folded.values() if offset) > PARTITIONS // 2
