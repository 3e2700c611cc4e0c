"""Bytes that Reprise stores by row and event: what ``reprise size`` multiplies.

Run with ``PYTHONPATH=tests python tests/bench/bench_size.py``. A generated history of a shop is written to a real
Kafka by the producer, to a real Redis as a backfill does, and to a file as the archiver does.
"""

import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import redis as redis_py
from bench_stream import produce
from standalone import run_alone

from reprise.archive.records import archive_table, to_parquet
from reprise.datagen.history import HistoryOptions, generate_history
from reprise.events import Event, encode_event
from reprise.features.executors.batch import BatchExecutor
from reprise.features.plan import Plan
from reprise.log import EVENTS, Record
from reprise.shop import ShopConfig
from reprise.store.feast.codec import ViewCodec
from reprise.store.online_store import GuardedWrite, OnlineStore
from support.histories import PLAN_FILE, PROJECT
from support.kafka import KafkaBroker, running_kafka
from support.redis import RedisServer, running_redis

EVENT_COUNT, USERS, PRODUCTS = 200_000, 2_500, 500
START = datetime(2026, 1, 1, tzinfo=UTC)
BULK = 1_000


def run(scale: float = 1.0) -> dict[str, float]:
    """Return bytes by name."""
    with tempfile.TemporaryDirectory(prefix="reprise-bench-") as folder:
        path = Path(folder) / "events.parquet"
        shop = ShopConfig(seed=11, users=round(USERS * scale), products=PRODUCTS)
        generate_history(HistoryOptions(path, shop, START, events=round(EVENT_COUNT * scale)))
        events = read_events(path)
        with running_redis() as redis:
            numbers = stored_rows(redis, path)
        with running_kafka() as broker:
            numbers["kafka_bytes_per_event"] = log_bytes(broker, events)
        numbers["archive_bytes_per_event"] = archive_bytes(events)
        return {name: round(number, 1) for name, number in numbers.items()}


def read_events(path: Path) -> list[Event]:
    """Return the events of a file."""
    columns = ("event_id", "user_id", "product_id", "event_type", "timestamp", "amount")
    table = pq.read_table(path, columns=list(columns))
    table = table.set_column(4, "timestamp", table["timestamp"].cast("int64"))
    return [Event(*row) for row in zip(*(table[name].to_pylist() for name in columns), strict=True)]


def stored_rows(redis: RedisServer, events: Path) -> dict[str, float]:
    """Write all states and one mark of an event; return the bytes of memory by row of each view, and by mark."""
    plan, numbers = Plan.load(PLAN_FILE), {}
    raw = redis_py.Redis(redis.host, redis.port)
    with BatchExecutor(plan) as executor, OnlineStore.connect(redis.settings()) as store:
        executor.load_events(events)
        for entity in plan.entities:
            codec, before, rows = ViewCodec(PROJECT, entity.view), used(raw), 0
            for batch in executor.final_states(entity.name):
                ids = zip(*(batch.column(key).to_pylist() for key in entity.view.join_keys), strict=True)
                states = zip(
                    *(batch.column(field.name).to_pylist() for field in entity.view.fields), strict=True
                )
                writes = [
                    GuardedWrite(codec, codec.key(*each), None, state, bytes(17), 1)
                    for each, state in zip(ids, states, strict=True)
                ]
                for at in range(0, len(writes), BULK):
                    assert all(store.write_guarded(writes[at : at + BULK]))
                rows += len(writes)
            numbers[f"redis_bytes_per_{entity.name}"] = (used(raw) - before) / rows
            numbers[f"{entity.name}s"] = rows
        before = used(raw)
        marks = [(f"{number:032x}", b"\0" * 12) for number in range(20_000)]
        for at in range(0, len(marks), BULK):
            store.claim_event_ids(marks[at : at + BULK], timedelta(hours=1))
        numbers["redis_bytes_per_event_id"] = (used(raw) - before) / len(marks)
    return numbers


def used(redis: Any) -> int:
    """Return the bytes that Redis has allocated."""
    return int(redis.info("memory")["used_memory_dataset"])


def log_bytes(broker: KafkaBroker, events: Sequence[Event]) -> float:
    """Return the bytes of one copy of an event in Kafka's log."""
    broker.reset_topics()
    produce(broker, events)
    segments = broker.directory.glob(f"data/{EVENTS.name}-*/*.log")
    return sum(path.stat().st_size for path in segments) / len(events)


def archive_bytes(events: Sequence[Event]) -> float:
    """Return the bytes of an event in a compacted file of the archive."""
    records = [
        Record(0, at, event.timestamp_us // 1000, event.user_id.encode(), encode_event(event))
        for at, event in enumerate(events)
    ]
    return len(to_parquet(archive_table(EVENTS.name, bytes(16), records))) / len(events)


if __name__ == "__main__":
    sys.exit(run_alone(run, lambda _: [], sys.argv[1:]))
