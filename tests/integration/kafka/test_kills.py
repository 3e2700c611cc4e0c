"""Materializers killed, frozen and rebalanced under load, Kafka and Redis restarted: nothing lost, nothing doubled.

The full dose, 50 kills, runs with ``REPRISE_SOAK=1``.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from reprise_eventlog import DEAD_LETTERS, EVENTS, open_producer
from reprise_events import Event, encode_event
from reprise_features.plan import Plan
from reprise_online.settings import OnlineStoreSettings
from reprise_online.store import OnlineStore
from support.histories import PLAN_FILE, assert_store_holds, batch_states, make_events
from support.kafka import KafkaBroker
from support.redis import MISSING, RedisServer, redis_server_path, running_redis

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.slow]

SOAK = os.environ.get("REPRISE_SOAK") == "1"
KILLS = 50 if SOAK else 6
RATE = 400
SECONDS_BETWEEN = (1.0, 4.0) if SOAK else (0.8, 2.5)
FROZEN_SECONDS = 2.0
GROUP = "materializer"
DRAIN_SECONDS = 90.0


class Load:
    """Appends events at a steady rate from a thread, some of them twice, and now and then nonsense."""

    def __init__(self, broker: KafkaBroker, events: list[Event]) -> None:
        self._producer = open_producer(broker.settings(kafka_delivery_seconds=120.0))
        self._events = events
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._futures: list[object] = []
        self.sent = 0
        self.doubled = 0
        self.nonsense = 0

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> list[Event]:
        """Stop, see every record acknowledged, and return the events that are in the log."""
        self._stop.set()
        self._thread.join()
        self._producer.flush(120)
        for future in self._futures:
            future.result(0)  # type: ignore[attr-defined]
        self._producer.close(10)
        return self._events[: self.sent]

    def _run(self) -> None:
        rng = random.Random(5)
        started = time.monotonic()
        while not self._stop.is_set() and self.sent < len(self._events):
            event = self._events[self.sent]
            self._append(event.user_id, encode_event(event))
            self.sent += 1
            if rng.random() < 0.03:
                earlier = self._events[rng.randrange(max(0, self.sent - 50), self.sent)]
                self._append(earlier.user_id, encode_event(earlier))
                self.doubled += 1
            if rng.random() < 0.005:
                self._append(event.user_id, b'{"event_id": 1')
                self.nonsense += 1
            self._stop.wait(max(0.0, started + self.sent / RATE - time.monotonic()))

    def _append(self, user_id: str, value: bytes) -> None:
        self._futures.append(self._producer.append(EVENTS.name, user_id.encode(), value))


class Workers:
    """Materializer processes."""

    def __init__(self, broker: KafkaBroker, redis: RedisServer, folder: Path) -> None:
        self._log = (folder / "materializers.log").open("ab")
        self.log_file = folder / "materializers.log"
        self._environment = os.environ | {
            "KAFKA_SERVERS": broker.servers,
            "KAFKA_SESSION_SECONDS": "1",
            "REDIS_HOST": redis.host,
            "REDIS_PORT": str(redis.port),
            "REPRISE_PLAN": str(PLAN_FILE),
            "API_HOST": "127.0.0.1",
            "API_PORT": "0",
            "MATERIALIZER_RETRY_SECONDS": "0.2",
            "MATERIALIZER_BATCH_RECORDS": "200",
        }
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        command = [sys.executable, "-c", "from reprise_materializer.main import command; command()"]
        self.running.append(
            subprocess.Popen(command, env=self._environment, stdout=self._log, stderr=subprocess.STDOUT)
        )

    def kill(self, rng: random.Random) -> None:
        victim = self.running.pop(rng.randrange(len(self.running)))
        victim.kill()
        victim.wait()

    def freeze(self, rng: random.Random) -> None:
        """Stop one for longer than its session, so that it wakes up as a zombie with a batch half written."""
        victim = rng.choice(self.running)
        victim.send_signal(signal.SIGSTOP)
        time.sleep(FROZEN_SECONDS)
        victim.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """End all in order; each must have gone on until now, and those that had started end cleanly."""
        for process in self.running:
            process.terminate()
        codes = [process.wait(30) for process in self.running]
        self._log.close()
        assert 0 in codes, self.log_file.read_text()[-4000:]
        assert set(codes) <= {0, -signal.SIGTERM}, self.log_file.read_text()[-4000:]

    def abandon(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()


@pytest.fixture
def durable_redis() -> Iterator[RedisServer]:
    if redis_server_path() is None:
        pytest.skip(MISSING)
    with running_redis("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


def lag(broker: KafkaBroker) -> int:
    """How many records the group has not committed."""
    admin = KafkaAdminClient(bootstrap_servers=broker.servers)
    consumer = KafkaConsumer(bootstrap_servers=broker.servers)
    try:
        partitions = [TopicPartition(EVENTS.name, number) for number in range(EVENTS.partitions)]
        ends = consumer.end_offsets(partitions)
        committed = admin.list_group_offsets({GROUP: partitions})[GROUP]
        return sum(end - max(0, committed[at].offset) for at, end in ends.items())
    finally:
        consumer.close()
        admin.close()


def wait_until_folded(broker: KafkaBroker, workers: Workers) -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    while (left := lag(broker)) > 0:
        assert time.monotonic() < deadline, (
            f"{left} records are not folded:\n{workers.log_file.read_text()[-4000:]}"
        )
        time.sleep(0.2)


def test_state_is_the_batch_executors_whatever_is_killed(
    kafka_broker: KafkaBroker, durable_redis: RedisServer, tmp_path: Path
) -> None:
    rng = random.Random(11)
    load = Load(kafka_broker, make_events(RATE * 8 * KILLS, users=60, products=25))
    workers = Workers(kafka_broker, durable_redis, tmp_path)
    try:
        workers.start()
        workers.start()
        load.start()
        time.sleep(3)
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
            if number == KILLS // 2:
                durable_redis.stop()
                time.sleep(0.5)
                durable_redis.start()
        events = load.finish()
        wait_until_folded(kafka_broker, workers)
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


def dead_letters(broker: KafkaBroker) -> int:
    consumer = KafkaConsumer(bootstrap_servers=broker.servers)
    try:
        return sum(consumer.end_offsets([TopicPartition(DEAD_LETTERS.name, 0)]).values())
    finally:
        consumer.close()
