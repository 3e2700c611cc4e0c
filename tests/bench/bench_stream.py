"""Kafka to Redis through one materializer, against Feast's own writes of the same views, on this machine.

``make bench BENCH=stream`` runs it. A real broker and a real Redis are started for it. Feast is measured in the same
run, on the same Redis, with the repository's own definitions.

What is compared with Feast's bulk write: Feast writes rows whose state somebody else has computed. Our own bulk write
of the same rows (what a backfill does) is the like of that. The stream does more, it computes the rows from events;
an event changes three rows, and a micro-batch writes a row once however many of its events change it. So its figure
is given both ways: by row changes, which is how many rows are kept up to date, and by rows written.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from prometheus_client import CollectorRegistry

from bench.standalone import processor_seconds
from reprise.events import Event, encode_event
from reprise.features.plan import Plan
from reprise.log import EVENTS, BufferFullError, Topic, open_producer
from reprise.materializer.metrics import MaterializerMetrics
from reprise.materializer.runner import open_worker
from reprise.materializer.settings import MaterializerSettings
from reprise.store.feast.codec import ViewCodec
from reprise.store.online_store import GuardedWrite, OnlineStore
from support.feast_repository import copy_repository
from support.histories import PLAN_FILE, PROJECT, BatchStates, batch_states, make_events
from support.kafka import KafkaBroker, running_kafka
from support.killing import GROUP, committed
from support.redis import RedisServer, running_redis
from support.waiting import wait_until

USERS, PRODUCTS = 3_000, 500
THROUGHPUT_EVENTS = 60_000
FEAST_ROWS = 2_000
FEAST_PUSHES = 40
FRESHNESS_RATE = 1_000
FRESHNESS_SECONDS = 20.0
SAMPLED = 20
BULK = 1_000
MEASURED_SHARE = 0.7
BUSY = 0.85


def run() -> dict[str, float | str]:
    """Return the measured numbers: events and rows a second, ratios, milliseconds; and what bounds two workers."""
    with running_kafka() as broker, running_redis() as redis:
        numbers = throughput(broker, redis)
        numbers |= bulk_writes(redis)
        bulk, by_cpu = numbers["feast_bulk_rows_per_second"], numbers["feast_bulk_rows_per_cpu_second"]
        numbers["ratio_of_bulk_write_to_feast_bulk"] = numbers["bulk_rows_per_second"] / bulk
        numbers["ratio_of_rows_written_to_feast_bulk"] = numbers["materializer_rows_per_second"] / bulk
        # an event is one change to each of three rows; a batch writes a row once however many changes it has
        changes, changes_by_cpu = (
            3 * numbers[f"materializer_events_per_{unit}"] for unit in ("second", "cpu_second")
        )
        numbers["ratio_of_row_changes_to_feast_bulk"] = changes / bulk
        numbers["ratio_of_row_changes_to_feast_bulk_by_cpu"] = changes_by_cpu / by_cpu
        measured: dict[str, Any] = numbers | freshness(broker, redis) | scaling(broker, redis)
        # of a process of its own, as it is deployed; the fold above shares its interpreter with who measures it
        measured["ratio_to_feast_push_events"] = (
            measured["one_worker_events_per_second"] / measured["feast_push_events_per_second"]
        )
        return measured


def throughput(
    broker: KafkaBroker, redis: RedisServer, users: int = USERS, products: int = PRODUCTS
) -> dict[str, float]:
    """Fold a backlog with one worker, in this process, as the materializer's own loop does."""
    events = make_events(THROUGHPUT_EVENTS, users=users, products=products)
    broker.reset_topics()
    redis.flush()
    numbers = {"producer_events_per_second": produce(broker, events)}
    settings = MaterializerSettings.load(
        kafka_servers=broker.servers, redis_host=redis.host, redis_port=redis.port, plan=PLAN_FILE
    )
    metrics = MaterializerMetrics(CollectorRegistry())
    with open_worker(settings, metrics) as worker:
        stop = threading.Event()
        thread = threading.Thread(target=worker.run, args=(stop,))
        thread.start()
        folded = metrics.events.labels("folded")._value
        wait_for(lambda: folded.get() > 0)
        first, rows, wall, cpu = folded.get(), rows_written(redis), time.perf_counter(), time.process_time()
        wait_for(lambda: folded.get() == len(events))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        rows = rows_written(redis) - rows
        stop.set()
        thread.join()
    count = len(events) - first
    return numbers | {
        "materializer_events_per_second": count / wall,
        "materializer_events_per_cpu_second": count / cpu,
        "materializer_rows_per_second": rows / wall,
    }


def produce(broker: KafkaBroker, events: Sequence[Event]) -> float:
    """Append events as fast as one producer can, and return how many a second were acknowledged."""
    return append(broker, EVENTS, ((event.user_id.encode(), encode_event(event)) for event in events))


def append(broker: KafkaBroker, topic: Topic, records: Iterable[tuple[bytes, bytes]]) -> float:
    """Append keys and values as fast as one producer can, and return how many a second were acknowledged."""
    producer = open_producer(broker.settings())
    started = time.perf_counter()
    futures = []
    for key, value in records:
        while True:
            try:
                futures.append(producer.append(topic.name, key, value))
                break
            except BufferFullError:
                time.sleep(0.005)
    producer.flush(120)
    seconds = time.perf_counter() - started
    for future in futures:
        future.result(0)
    producer.close(10)
    return len(futures) / seconds


def rows_written(redis: RedisServer) -> int:
    with redis.client() as client:
        statistics: dict[str, Any] = client.info("commandstats")
    return sum(statistics.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


def bulk_writes(redis: RedisServer) -> dict[str, float]:
    """Write the same rows with Feast and by ourselves, many at once; with Feast also one event's three rows."""
    plan = Plan.load(PLAN_FILE)
    states = batch_states(plan, make_events(4_000, users=USERS, products=PRODUCTS))
    redis.flush()
    with tempfile.TemporaryDirectory(prefix="reprise-bench-") as folder:
        repository = copy_repository(Path(folder), redis)
        (Path(folder) / "plan" / "plan.json").write_bytes(plan.dumps())
        repository.run(["apply"])
        with repository.store() as store:
            frames = {e.view.name: state_frame(plan, states, e.name) for e in plan.entities}
            store.write_to_online_store("pair_state", frames["pair_state"].head(10))
            rows = 0
            started, cpu = time.perf_counter(), time.process_time()
            for name, frame in frames.items():
                store.write_to_online_store(name, frame.head(FEAST_ROWS))
                rows += min(len(frame), FEAST_ROWS)
            bulk, bulk_cpu = rows / (time.perf_counter() - started), rows / (time.process_time() - cpu)
            redis.flush()
            ours = write_in_bulk(
                redis, plan, {name: frame.head(FEAST_ROWS) for name, frame in frames.items()}
            )
            started = time.perf_counter()
            for at in range(FEAST_PUSHES):
                for name, frame in frames.items():
                    store.write_to_online_store(name, frame.iloc[at : at + 1])
            pushes = FEAST_PUSHES / (time.perf_counter() - started)
    return {
        "bulk_rows_per_second": ours,
        "feast_bulk_rows_per_second": bulk,
        "feast_bulk_rows_per_cpu_second": bulk_cpu,
        "feast_push_events_per_second": pushes,
    }


def write_in_bulk(redis: RedisServer, plan: Plan, frames: Mapping[str, pd.DataFrame]) -> float:
    """Write the frames' rows as a backfill does, and return how many a second were written."""
    settings = redis.settings()
    rows = 0
    with OnlineStore.connect(settings) as store:
        started = time.perf_counter()
        for entity in plan.entities:
            codec, frame = ViewCodec(PROJECT, entity.view), frames[entity.view.name]
            table = pa.Table.from_pandas(frame, preserve_index=False)
            keys = [
                codec.key(*ids) for ids in zip(*(frame[key] for key in entity.view.join_keys), strict=True)
            ]
            columns = [table.column(field.name).to_pylist() for field in entity.view.fields]
            rows += write_rows(store, codec, keys, zip(*columns, strict=True))
        return rows / (time.perf_counter() - started)


def write_rows(
    store: OnlineStore, codec: ViewCodec, keys: Iterable[bytes], states: Iterable[Sequence[Any]]
) -> int:
    """Write rows of a view that do not exist yet, and return how many."""
    writes = [
        GuardedWrite(codec, key, None, state, bytes(17), 1) for key, state in zip(keys, states, strict=True)
    ]
    for at in range(0, len(writes), BULK):
        assert all(store.write_guarded(writes[at : at + BULK]))
    return len(writes)


def state_frame(plan: Plan, states: BatchStates, entity: str) -> pd.DataFrame:
    """The states of an entity as Feast takes them."""
    view = next(e.view for e in plan.entities if e.name == entity)
    ids, rows = list(states[entity]), list(states[entity].values())
    columns: dict[str, Any] = {key: [each[at] for each in ids] for at, key in enumerate(view.join_keys)}
    for at, field in enumerate(view.fields):
        types = {"int64": "Int64", "double": "Float64", "bytes": "object"}
        columns[field.name] = pd.Series([row[at] for row in rows], dtype=types[field.kind])
    columns["watermarks"] = pd.Series([bytes(17)] * len(ids), dtype=object)
    columns["event_timestamp"] = pd.Timestamp("2026-01-01", tz="UTC")
    return pd.DataFrame(columns)


def freshness(broker: KafkaBroker, redis: RedisServer) -> dict[str, float]:
    """From handing an event to the producer until its pair can be read, at a steady rate."""
    broker.reset_topics()
    redis.flush()
    pair = ViewCodec(PROJECT, Plan.load(PLAN_FILE).pair.view)
    sent: dict[bytes, float] = {}
    delays: list[float] = []
    done = threading.Event()
    with materializer_process(broker, redis):
        producer = open_producer(broker.settings())
        warm_up(producer, redis, pair)
        watcher = threading.Thread(target=watch, args=(redis, sent, delays, done))
        watcher.start()
        events = make_events(int(FRESHNESS_RATE * FRESHNESS_SECONDS), users=USERS, products=PRODUCTS, seed=1)
        started = time.perf_counter()
        for number, event in enumerate(events):
            due = started + number / FRESHNESS_RATE
            if (wait := due - time.perf_counter()) > 0:
                time.sleep(wait)
            current = replace(event, timestamp_us=time.time_ns() // 1000)
            if number % SAMPLED == 0:
                current = replace(current, product_id=f"sampled-{number}")
                sent[pair.key(current.user_id, current.product_id)] = time.perf_counter()
            producer.append(EVENTS.name, current.user_id.encode(), encode_event(current))
        took = time.perf_counter() - started
        producer.close(10)
        wait_for(lambda: len(delays) == len(events) // SAMPLED)
        done.set()
        watcher.join()
    return {
        "freshness_p50_milliseconds": float(np.percentile(delays, 50)) * 1e3,
        "freshness_p95_milliseconds": float(np.percentile(delays, 95)) * 1e3,
        "freshness_events_per_second": len(events) / took,
    }


def scaling(broker: KafkaBroker, redis: RedisServer) -> dict[str, Any]:
    """Fold the same backlog with one worker process and with two, and name what bounds the two."""
    one, _ = backlog_seconds(broker, redis, workers=1)
    two, shares = backlog_seconds(broker, redis, workers=2)
    return {
        "one_worker_events_per_second": THROUGHPUT_EVENTS * MEASURED_SHARE / one,
        "two_workers_events_per_second": THROUGHPUT_EVENTS * MEASURED_SHARE / two,
        "ratio_of_two_workers_to_one": one / two,
        **{f"two_workers_cores_of_{name}": share for name, share in shares.items()},
        "two_workers_are_bound_by": bound(shares),
    }


def backlog_seconds(broker: KafkaBroker, redis: RedisServer, workers: int) -> tuple[float, dict[str, float]]:
    """Return how long the later part of a backlog took, when all have started, and the cores that each used."""
    broker.reset_topics()
    redis.flush()
    produce(broker, make_events(THROUGHPUT_EVENTS, users=USERS, products=PRODUCTS))
    with ExitStack() as stack:
        pids = [stack.enter_context(materializer_process(broker, redis, GROUP)) for _ in range(workers)]
        watched = {"redis": [redis.pid], "kafka": [broker.pid], "workers": pids}

        def folded() -> int:
            return sum(max(0, offset) for offset in committed(broker).values())

        wait_for(lambda: folded() >= THROUGHPUT_EVENTS * (1 - MEASURED_SHARE), pause=0.1)
        began, before = time.perf_counter(), {name: cpu_seconds(each) for name, each in watched.items()}
        wait_for(lambda: folded() >= THROUGHPUT_EVENTS, pause=0.1)
        seconds = time.perf_counter() - began
        shares = {name: (cpu_seconds(each) - before[name]) / seconds for name, each in watched.items()}
        return seconds, shares


def cpu_seconds(pids: Sequence[int]) -> float:
    return sum(map(processor_seconds, pids))


def bound(shares: Mapping[str, float]) -> str:
    """Name what has no more to give: Redis's one thread, the workers' own, or the machine."""
    cores = os.cpu_count() or 1
    if shares["redis"] >= BUSY:
        return "redis-server, which runs commands on one core"
    if shares["workers"] >= BUSY * 2:
        return "the workers, which each run on one core"
    busy, load = sum(shares.values()), os.getloadavg()[0]
    return f"the machine: {busy:.1f} of its {cores} cores were given to this, at a load of {load:.1f}"


def watch(redis: RedisServer, sent: dict[bytes, float], delays: list[float], done: threading.Event) -> None:
    with redis.client() as client:
        while not done.wait(0.002):
            keys = list(sent)
            pipeline = client.pipeline(transaction=False)
            for key in keys:
                pipeline.exists(key)
            now = time.perf_counter()
            for key, there in zip(keys, pipeline.execute() if keys else [], strict=True):
                if there:
                    delays.append(now - sent.pop(key))


def warm_up(producer: Any, redis: RedisServer, pair: ViewCodec) -> None:
    """Wait until the process folds what it is sent."""
    event = replace(make_events(1)[0], event_id="warm-up", user_id="warm", product_id="up")
    producer.append(EVENTS.name, b"warm", encode_event(event))
    with redis.client() as client:
        wait_for(lambda: bool(client.exists(pair.key("warm", "up"))))


@contextmanager
def materializer_process(broker: KafkaBroker, redis: RedisServer, group: str = "freshness") -> Iterator[int]:
    """A materializer of its own; gives its process id."""
    environment = os.environ | {
        "KAFKA_SERVERS": broker.servers,
        "REDIS_HOST": redis.host,
        "REDIS_PORT": str(redis.port),
        "REPRISE_PLAN": str(PLAN_FILE),
        "MATERIALIZER_GROUP": group,
        "API_HOST": "127.0.0.1",
        "API_PORT": "0",
        "LOG_LEVEL": "warning",
    }
    command = [sys.executable, "-c", "from reprise.materializer.main import command; command()"]
    process = subprocess.Popen(command, env=environment)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def wait_for(condition: Callable[[], bool], pause: float = 0.002) -> None:
    wait_until("the benchmark gets on", condition, 180.0, pause)
