"""A load of events, materializers to kill under it, and what is to be true afterwards."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import CoordinatorLoadInProgressError, CoordinatorNotAvailableError

from reprise.events import Event, encode_event
from reprise.features.plan import Plan
from reprise.log import DEAD_LETTERS, EVENTS, LogProducer, Topic, open_producer
from reprise.store.online_store import OnlineStore
from reprise.store.settings import OnlineStoreSettings
from support.histories import PLAN_FILE, assert_store_holds, batch_states
from support.kafka import KafkaBroker
from support.waiting import wait_until

GROUP = "materializer"
_FROZEN_SECONDS = 3.5
_DRAIN_SECONDS = 180.0


class Load:
    """Appends events at a steady rate from a thread, some of them twice, and now and then nonsense."""

    def __init__(self, broker: KafkaBroker, events: list[Event], rate: int) -> None:
        self._broker = broker
        self._producer = self._open()
        self._events = events
        self._rate = rate
        self._may_append, self._is_paused = threading.Event(), threading.Event()
        self._may_append.set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._futures: list[object] = []
        self.sent = 0
        self.doubled = 0
        self.nonsense = 0

    def start(self) -> None:
        self._thread.start()

    def pause(self) -> None:
        """Append nothing more until ``resume``, and see what was appended acknowledged."""
        self._may_append.clear()
        self._is_paused.wait()
        self._close()

    def resume(self) -> None:
        """Go on with a new producer, which knows the partitions that there are now."""
        self._producer = self._open()
        self._may_append.set()

    def wait_until_sent(self, count: int) -> None:
        wait_until(
            lambda: f"{self.sent} of {count} events are sent", lambda: self.sent >= count, _DRAIN_SECONDS
        )

    def finish(self) -> list[Event]:
        """Stop, see every record acknowledged, and return the events that are in the log."""
        self._stop.set()
        self._may_append.set()
        self._thread.join()
        self._close()
        return self._events[: self.sent]

    def _run(self) -> None:
        rng = random.Random(5)
        started = time.monotonic()
        while not self._stop.is_set() and self.sent < len(self._events):
            if not self._may_append.is_set():
                self._is_paused.set()
                self._may_append.wait()
                self._is_paused.clear()
                started = time.monotonic() - self.sent / self._rate
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
            self._stop.wait(max(0.0, started + self.sent / self._rate - time.monotonic()))

    def _append(self, user_id: str, value: bytes) -> None:
        self._futures.append(self._producer.append(EVENTS.name, user_id.encode(), value))

    def _close(self) -> None:
        self._producer.flush(120)
        for future in self._futures:
            future.result(0)  # type: ignore[attr-defined]
        self._producer.close(10)

    def _open(self) -> LogProducer:
        return open_producer(self._broker.settings(kafka_delivery_seconds=120.0))


class Workers:
    """Materializer processes; ``store`` are the variables of the online store, ``folder`` is for what they print."""

    def __init__(self, broker: KafkaBroker, store: Mapping[str, str], folder: Path) -> None:
        self._log = (folder / "materializers.log").open("ab")
        self.log_file = folder / "materializers.log"
        # A process that starts while the broker is away waits for it.
        kafka = {
            "KAFKA_SERVERS": broker.servers,
            "KAFKA_SESSION_SECONDS": "2",
            "KAFKA_CONNECT_SECONDS": "120",
        }
        own = {"MATERIALIZER_RETRY_SECONDS": "0.2", "MATERIALIZER_BATCH_RECORDS": "200"}
        served = {"REPRISE_PLAN": str(PLAN_FILE), "API_HOST": "127.0.0.1", "API_PORT": "0"}
        self._environment = {**os.environ, **store, **kafka, **own, **served}
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        command = [sys.executable, "-c", "from reprise.materializer.main import command; command()"]
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
        time.sleep(_FROZEN_SECONDS)
        victim.send_signal(signal.SIGCONT)

    def wait_until_folding(self, broker: KafkaBroker) -> None:
        """Wait until the first batch is folded: a process takes its seconds to start on a busy machine."""
        wait_until(
            lambda: f"a batch is folded:\n{self.log_file.read_text()[-4000:]}",
            lambda: any(committed(broker).values()),
            _DRAIN_SECONDS,
            every=0.2,
        )

    def wait_until_folded(self, broker: KafkaBroker) -> None:
        """Wait until nothing is left; a busy machine may be slow, but has to get on."""
        least, deadline = lag(broker), time.monotonic() + _DRAIN_SECONDS
        while (left := lag(broker)) > 0:
            if left < least:
                least, deadline = left, time.monotonic() + _DRAIN_SECONDS
            late = time.monotonic() > deadline
            assert not late, f"{left} records are not folded:\n{self.log_file.read_text()[-4000:]}"
            time.sleep(0.2)

    def end(self) -> None:
        """End all in order; each must have gone on until now, and those that had started end cleanly."""
        for process in self.running:
            process.terminate()
        codes = [process.wait(30) for process in self.running]
        self._log.close()
        said = f"exit statuses {codes}:\n{self.log_file.read_text()[-4000:]}"
        assert 0 in codes, said
        assert set(codes) <= {0, -signal.SIGTERM}, said

    def abandon(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()


@contextmanager
def folding(
    broker: KafkaBroker, store: OnlineStoreSettings, folder: Path, events: list[Event], rate: int
) -> Iterator[tuple[Load, Workers]]:
    """Have two materializers fold a load; in the end the store has to hold the batch executor's states of it."""
    load = Load(broker, events, rate)
    given = store.model_dump(exclude_none=True)
    environment = {name: str(given[field]) for field, name in store.env_names().items() if field in given}
    workers = Workers(broker, environment, folder)
    try:
        workers.start()
        workers.start()
        load.start()
        workers.wait_until_folding(broker)
        yield load, workers
        appended = load.finish()
        workers.wait_until_folded(broker)
        workers.end()
    finally:
        load.finish()
        workers.abandon()
    plan = Plan.load(PLAN_FILE)
    with OnlineStore.connect(store) as connected:
        assert assert_store_holds(connected, plan, batch_states(plan, appended)) > 5_000


def lag(broker: KafkaBroker) -> int:
    ends, offsets = end_offsets(broker, EVENTS), committed(broker)
    return sum(end - offsets.get(partition, 0) for partition, end in ends.items())


def end_offsets(broker: KafkaBroker, topic: Topic) -> dict[int, int]:
    consumer = KafkaConsumer(bootstrap_servers=broker.servers)
    try:
        partitions = consumer.partitions_for_topic(topic.name)
        assert partitions is not None, f"{topic.name} is unknown"
        ends = consumer.end_offsets([TopicPartition(topic.name, at) for at in partitions])
    finally:
        consumer.close()
    return {at.partition: end for at, end in ends.items()}


def committed(broker: KafkaBroker) -> dict[int, int]:
    """The offset that the group has committed, by partition; none while nobody leads the group."""
    admin = KafkaAdminClient(bootstrap_servers=broker.servers)
    partitions = [TopicPartition(EVENTS.name, number) for number in end_offsets(broker, EVENTS)]
    try:
        found = admin.list_group_offsets({GROUP: partitions})[GROUP]
    except (CoordinatorLoadInProgressError, CoordinatorNotAvailableError):
        return {}
    finally:
        admin.close()
    return {at.partition: max(0, offset.offset) for at, offset in found.items()}


def dead_letters(broker: KafkaBroker) -> int:
    return sum(end_offsets(broker, DEAD_LETTERS).values())
