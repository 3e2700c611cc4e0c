"""Parity of the running predictor with the batch executor."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from reprise.event_files.schema import EVENT_SCHEMA
from reprise.events import Event, parse_timestamp
from reprise.features.executors.batch import BatchExecutor
from reprise.features.parity.comparison import Comparison, batch_inputs, compare, feature_scales
from reprise.features.plan import Plan

_BATCH = 500


def compare_online(
    client: httpx.Client,
    predictor: str,
    plan: Plan,
    history: Path,
    streamed: Sequence[Event],
    pairs: Sequence[tuple[str, str]],
) -> Comparison:
    """Compare every input of predictions for these pairs with the batch executor's values at the same instant."""
    now = datetime.now(UTC).isoformat()
    requests = [
        {"user_id": user, "product_id": product, "event_type": "purchase", "amount": 10.0, "timestamp": now}
        for user, product in pairs
    ]
    served = np.array([_inputs(result, plan) for result in predict(client, predictor, requests)])
    rows = pd.DataFrame(
        {
            "row_id": np.arange(len(pairs)),
            "user_id": [user for user, _ in pairs],
            "product_id": [product for _, product in pairs],
            "timestamp_us": parse_timestamp(now),
            "amount": 10.0,
            "is_purchase": 1.0,
        }
    )
    rows_streamed = [asdict(e) | {"timestamp": e.timestamp_us, "metadata": None} for e in streamed]
    live = pa.Table.from_pylist(rows_streamed, schema=EVENT_SCHEMA)
    events = pa.concat_tables([pq.read_table(history).cast(EVENT_SCHEMA), live])
    with BatchExecutor(plan) as executor:
        executor.load_events(events)
        computed = batch_inputs(executor, plan, rows)
    amounts = events.column("amount").to_numpy()
    scales = feature_scales(plan, plan.input_names, computed, float(np.nanmax(amounts, initial=0.0)))
    return compare("predictor and batch", plan.input_names, served, computed, scales)


def predict(
    client: httpx.Client, predictor: str, requests: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield a prediction with all its features for each request."""
    for start in range(0, len(requests), _BATCH):
        body = {"requests": list(requests[start : start + _BATCH])}
        response = client.post(f"{predictor}/predict/batch", params={"explain": "all"}, json=body)
        yield from response.raise_for_status().json()["results"]


def _inputs(result: dict[str, Any], plan: Plan) -> list[float]:
    values = [result["features_used"][name] for name in plan.input_names]
    return [np.nan if value is None else float(value) for value in values]
