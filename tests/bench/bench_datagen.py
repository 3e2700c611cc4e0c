"""Events a second of datagen, against a loop that makes one event at a time.

``make bench BENCH=datagen`` runs it. The baseline draws each event with the standard library, a
user by its activity, a product by Zipf popularity, the hour by a daily curve, and a purchase by a coin; it has
no replenishment and no truth. It writes the same columns, in batches, to the same format.
"""

import random
import resource
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reprise.datagen.history import HistoryOptions, generate_history
from reprise.event_files.schema import EVENT_SCHEMA
from reprise.shop import ShopConfig

USERS, PRODUCTS = 10_000, 1_000
BASELINE_EVENTS = 100_000
START = datetime(2026, 1, 1, tzinfo=UTC)


def one_event_at_a_time(path: Path, events: int) -> None:
    draw = random.Random(7)
    users = [f"u{number:06d}" for number in range(USERS)]
    products = [f"p{number:05d}" for number in range(PRODUCTS)]
    prices = [round(draw.lognormvariate(3, 0.5), 2) for _ in products]
    busy = list(accumulate(draw.gammavariate(2, 1) for _ in users))
    popular = list(accumulate(1 / rank for rank in range(1, PRODUCTS + 1)))
    hours = list(accumulate([1] * 7 + [3] * 10 + [6] * 5 + [2] * 2))
    when = START
    with pq.ParquetWriter(path, EVENT_SCHEMA, compression="zstd") as writer:
        rows = []
        for _ in range(events):
            when += timedelta(seconds=draw.expovariate(0.1))
            hour = draw.choices(range(24), cum_weights=hours)[0]
            product = draw.choices(range(PRODUCTS), cum_weights=popular)[0]
            bought = draw.random() < 0.1
            rows.append(
                {
                    "event_id": str(uuid.UUID(int=draw.getrandbits(128))),
                    "user_id": draw.choices(users, cum_weights=busy)[0],
                    "product_id": products[product],
                    "event_type": "purchase" if bought else "view",
                    "amount": prices[product] if bought else None,
                    "timestamp": when.replace(hour=hour),
                    "metadata": None,
                }
            )
            if len(rows) == 50_000:
                writer.write_table(pa.Table.from_pylist(rows, EVENT_SCHEMA))
                rows.clear()
        writer.write_table(pa.Table.from_pylist(rows, EVENT_SCHEMA))


def rate(events: int, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return events / (time.perf_counter() - began)


def run(events: int = 3_000_000) -> dict[str, object]:
    shop = ShopConfig(users=USERS, products=PRODUCTS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        generate_history(
            HistoryOptions(path / "warm.parquet", shop, START, events=1_000, truth=path / "t.parquet")
        )
        plans = {
            "parquet": HistoryOptions(path / "h.parquet", shop, START, events=events),
            "parquet_with_truth": HistoryOptions(
                path / "h.parquet", shop, START, events=events, truth=path / "truth.parquet"
            ),
            "csv": HistoryOptions(path / "h.csv", shop, START, events=events),
        }
        rates = {name: rate(events, partial(generate_history, plan)) for name, plan in plans.items()}
        baseline = rate(BASELINE_EVENTS, lambda: one_event_at_a_time(path / "loop.parquet", BASELINE_EVENTS))
    return {
        "events": events,
        "events_per_second": {name: round(value) for name, value in rates.items()},
        "baseline_events_per_second": round(baseline),
        "times_the_baseline": round(rates["parquet"] / baseline, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
