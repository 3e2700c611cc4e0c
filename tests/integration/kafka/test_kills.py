"""Materializers killed, frozen and rebalanced under load, Kafka and Redis restarted: nothing lost, nothing doubled.

The full dose, 50 kills, runs with ``REPRISE_SOAK=1``.
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
from support.killing import Load, Workers, dead_letters
from support.redis import MISSING, RedisServer, redis_server_path, running_redis

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.slow]

KILLS = 50 if SOAK else 3
RATE = 400
SECONDS_BETWEEN = (1.0, 4.0) if SOAK else (0.8, 2.5)


@pytest.fixture
def durable_redis() -> Iterator[RedisServer]:
    if redis_server_path() is None:
        pytest.skip(MISSING)
    with running_redis("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


def test_state_is_the_batch_executors_whatever_is_killed(
    kafka_broker: KafkaBroker, durable_redis: RedisServer, tmp_path: Path
) -> None:
    rng = random.Random(11)
    load = Load(kafka_broker, make_events(RATE * 8 * KILLS, users=60, products=25), RATE)
    store_environment = {"REDIS_HOST": durable_redis.host, "REDIS_PORT": str(durable_redis.port)}
    workers = Workers(kafka_broker, store_environment, tmp_path)
    try:
        workers.start()
        workers.start()
        load.start()
        workers.wait_until_folding(kafka_broker)
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
                durable_redis.stop()
                time.sleep(0.5)
                durable_redis.start()
        events = load.finish()
        workers.wait_until_folded(kafka_broker)
        workers.end()
    finally:
        load.finish()
        workers.abandon()
    assert len(events) > 100 * KILLS
    assert load.doubled > 0
    plan = Plan.load(PLAN_FILE)
    settings = OnlineStoreSettings(redis_host=durable_redis.host, redis_port=durable_redis.port)
    with OnlineStore.connect(settings) as store:
        assert assert_store_holds(store, plan, batch_states(plan, events)) > 5_000
    assert dead_letters(kafka_broker) >= load.nonsense
