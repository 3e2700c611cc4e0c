"""A history of purchases, and a model of the number of the pair's purchases."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reprise.bundle import BundleStore
from support.served_bundles import bundle_files

AT = datetime(2026, 5, 1, tzinfo=UTC)


def purchases(count: int = 3_000) -> pa.Table:
    """Purchases from 150 days before the instant until 30 days after it; product-3 is new, product-0 has no amount."""
    rng = np.random.default_rng(2)
    days = np.sort(rng.uniform(-150, 30, count))
    products = rng.choice(4, count, p=[0.4, 0.3, 0.2, 0.1])
    kept = (products < 3) | (days > -20)
    days, products = days[kept], products[kept]
    return pa.table(
        {
            "event_id": [f"e{at}" for at in range(len(days))],
            "user_id": [f"u{user}" for user in rng.integers(0, 400, len(days))],
            "product_id": [f"product-{product}" for product in products],
            "event_type": ["purchase"] * len(days),
            "amount": pa.array(rng.uniform(1, 9, len(days)), mask=products == 0),
            "timestamp": pa.array([AT + timedelta(days=day) for day in days], pa.timestamp("us", "UTC")),
        }
    )


def publish_model(url: str | Path, **changes: Any) -> str:
    """Publish the model, evaluated on the time from the middle of March on, and return the store's URL."""
    store, start = BundleStore(str(url)), "2026-03-15T00:00:00Z"
    files = bundle_files(weights={"pair_purchases": 0.5}, bias=-2.0, evaluation_start=start, **changes)
    store.set_latest(store.publish(files))
    return store.url


def arguments(models: str, folder: Path, history: pa.Table) -> list[str]:
    """Write the history into a folder, and return the arguments of a command that writes its output there."""
    pq.write_table(history, folder / "events.parquet")
    places = ["--events", str(folder / "events.parquet"), "--model-store", models, "--out", str(folder)]
    return [*places, "--at", AT.isoformat()]
