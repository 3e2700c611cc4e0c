"""What ``reprise size`` multiplies: bytes by row and record, and processor time by event.

Run with ``PYTHONPATH=tests python tests/bench/bench_size.py``. A generated history of a shop is written to a real
Kafka by the log's producer, to a real Redis as a backfill does, and to files as the archiver does. Then a materializer
folds events of so many users and products that almost each event writes three rows.
"""

import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import redis as redis_py

from bench.bench_stream import BULK, THROUGHPUT_EVENTS, append, throughput, write_rows
from bench.standalone import history, processor_seconds, run_alone
from reprise.archive.records import archive_table, to_parquet
from reprise.events import encode_event, format_timestamp
from reprise.features.executors.batch import BatchExecutor
from reprise.features.plan import Plan
from reprise.log import EVENTS, PREDICTIONS, Record, Topic
from reprise.predictor.models.api import Known
from reprise.predictor.storage.prediction_log import PredictionRecord
from reprise.store.feast.codec import ViewCodec
from reprise.store.online_store import OnlineStore
from support.histories import PLAN_FILE, PROJECT, read_events
from support.kafka import KafkaBroker, running_kafka
from support.redis import RedisServer, running_redis

EVENT_COUNT, USERS, PRODUCTS = 200_000, 2_500, 500
PREDICTION_COUNT = 50_000
MANY_USERS, MANY_PRODUCTS = 60_000, 20_000


def run(scale: float = 1.0) -> dict[str, float]:
    plan = Plan.load(PLAN_FILE)
    with tempfile.TemporaryDirectory(prefix="reprise-bench-") as folder:
        size = {"users": round(USERS * scale), "products": PRODUCTS}
        path = history(Path(folder) / "events.parquet", round(EVENT_COUNT * scale), **size)
        events = [(e.user_id.encode(), e.timestamp_us, encode_event(e)) for e in read_events(path)]
        records = {
            "event": (EVENTS, events),
            "prediction": (PREDICTIONS, list(predictions(plan, path, round(PREDICTION_COUNT * scale)))),
        }
        with running_redis() as redis, running_kafka() as broker:
            numbers = stored_rows(plan, redis, path)
            for name, (topic, rows) in records.items():
                numbers[f"kafka_bytes_per_{name}"] = log_bytes(broker, topic, rows)
                numbers[f"archive_bytes_per_{name}"] = archive_bytes(topic, rows)
            numbers |= stream(broker, redis)
    return {name: round(number, 1) for name, number in numbers.items()}


def predictions(plan: Plan, path: Path, count: int) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield predictions at the last events, with their features, as the predictor logs them."""
    with BatchExecutor(plan) as executor:
        executor.load_events(path)
        columns = ["user_id", "product_id", "ts", "amount", "is_purchase"]
        for batch, inputs in executor.with_inputs(executor.event_rows(columns)):
            for row, values in zip(batch.select(columns).to_pylist(), inputs.tolist(), strict=True):
                if count == 0:
                    return
                count -= 1
                record = PredictionRecord(
                    schema_version=1, answered_at=format_timestamp(row["ts"] + 1_234),
                    timestamp=format_timestamp(row["ts"]), user_id=row["user_id"], product_id=row["product_id"],
                    event_type="purchase" if row["is_purchase"] else "view", amount=row["amount"],
                    probability=float(f"{abs(hash(row['user_id'])) % 10**7 / 10**7:.7f}"), prediction=False,
                    threshold=0.4149, model_version="sha256:" + "ab" * 32, arm="baseline",
                    known=Known(user=True, product=True, pair=True),
                    features={
                        name: None if math.isnan(value) else value
                        for name, value in zip(plan.input_names, values, strict=True)
                    },
                    trace_id=None,
                )  # fmt: skip
                yield row["user_id"].encode(), row["ts"], orjson.dumps(record.model_dump())


def stored_rows(plan: Plan, redis: RedisServer, events: Path) -> dict[str, float]:
    """Write all states and marks of event ids; return the bytes of memory by row of each view, and by mark."""
    numbers: dict[str, float] = {}
    raw = redis_py.Redis(redis.host, redis.port)
    with BatchExecutor(plan) as executor, OnlineStore.connect(redis.settings()) as store:
        executor.load_events(events)
        for entity in plan.entities:
            codec, before, rows = ViewCodec(PROJECT, entity.view), used(raw), 0
            for batch in executor.final_states(entity.name):
                ids = zip(*(batch.column(key).to_pylist() for key in entity.view.join_keys), strict=True)
                fields = [batch.column(field.name).to_pylist() for field in entity.view.fields]
                keys = [codec.key(*each) for each in ids]
                rows += write_rows(store, codec, keys, zip(*fields, strict=True))
            numbers[f"redis_bytes_per_{entity.name}"] = (used(raw) - before) / rows
        raw.flushdb()
        before, marks = used(raw), [(f"{number:032x}", b"\0" * 12) for number in range(100_000)]
        for at in range(0, len(marks), BULK):
            store.claim_event_ids(marks[at : at + BULK], timedelta(hours=1))
        numbers["redis_bytes_per_event_id"] = (used(raw) - before) / len(marks)
    return numbers


def used(redis: Any) -> int:
    return int(redis.info("memory")["used_memory"])


def log_bytes(broker: KafkaBroker, topic: Topic, rows: Sequence[tuple[bytes, int, bytes]]) -> float:
    """Return the bytes of one copy of a record in Kafka's log."""
    broker.reset_topics()
    append(broker, topic, ((key, value) for key, _, value in rows))
    segments = broker.directory.glob(f"data/{topic.name}-*/*.log")
    return float(sum(path.stat().st_size for path in segments)) / len(rows)


def archive_bytes(topic: Topic, rows: Sequence[tuple[bytes, int, bytes]]) -> float:
    """Return the bytes of a record in a compacted file of the archive."""
    records = [
        Record(0, at, timestamp_us // 1000, key, value) for at, (key, timestamp_us, value) in enumerate(rows)
    ]
    return len(to_parquet(archive_table(topic.name, bytes(16), records))) / len(rows)


def stream(broker: KafkaBroker, redis: RedisServer) -> dict[str, float]:
    """Return the processor time of an event in broker, Redis and materializer, microseconds."""
    pids = (broker.pid, redis.pid)
    before = [processor_seconds(pid) for pid in pids]
    found = throughput(broker, redis, MANY_USERS, MANY_PRODUCTS)
    kafka, store = (processor_seconds(pid) - used for pid, used in zip(pids, before, strict=True))
    return {
        "materializer_us_per_event": 1e6 / found["materializer_events_per_cpu_second"],
        "redis_us_per_event": 1e6 * store / THROUGHPUT_EVENTS,
        "kafka_us_per_event": 1e6 * kafka / THROUGHPUT_EVENTS,
        "rows_per_event": found["materializer_rows_per_second"] / found["materializer_events_per_second"],
    }


if __name__ == "__main__":
    sys.exit(run_alone(run, lambda _: []))
