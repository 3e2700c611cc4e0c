"""Materializers killed, frozen and rebalanced under load, Kafka and Redis restarted: nothing lost, nothing doubled.

The full dose, 50 kills, runs with ``REPRISE_SOAK=1``.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.collection import SOAK
from support.histories import make_events
from support.kafka import KafkaBroker
from support.killing import dead_letters, folding
from support.redis import RedisServer, running_redis

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.slow]

KILLS = 50 if SOAK else 2
RATE = 400
SECONDS_BETWEEN = (1.0, 4.0) if SOAK else (0.8, 2.5)


@pytest.fixture
def durable_redis() -> Iterator[RedisServer]:
    with running_redis("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


def test_state_is_the_batch_executors_whatever_is_killed(
    kafka_broker: KafkaBroker, durable_redis: RedisServer, tmp_path: Path
) -> None:
    rng = random.Random(11)
    events = make_events(RATE * 8 * KILLS, users=60, products=25)
    settings = durable_redis.settings()
    with folding(kafka_broker, settings, tmp_path, events, RATE) as (load, workers):
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
    assert load.sent > 100 * KILLS
    assert load.doubled > 0
    assert dead_letters(kafka_broker) >= load.nonsense
