"""Sample events of the synthetic shop, to plan features without a history."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reprise.event_files.schema import EVENT_SCHEMA
from reprise.events import parse_timestamp
from reprise.shop import EVENT_TYPES, EventBatch, Shop, ShopConfig

SAMPLE_SHOP = ShopConfig(seed=7, users=1_000, products=150)
SAMPLE_START = datetime(2026, 1, 1, tzinfo=UTC)
SAMPLE_LENGTH = timedelta(days=150)


def write_sample(out: Path) -> int:
    """Write the sample, always the same, as canonical Parquet; return the number of events."""
    shop = Shop(SAMPLE_SHOP)
    start_us = parse_timestamp(SAMPLE_START.isoformat())
    end_us = parse_timestamp((SAMPLE_START + SAMPLE_LENGTH).isoformat())
    rows = 0
    with pq.ParquetWriter(out, EVENT_SCHEMA) as writer:
        for batch in shop.stream(start_us):
            within = batch.before(end_us)
            writer.write_batch(_record_batch(shop, within))
            rows += len(within)
            if len(within) < len(batch):
                break
    return rows


def _record_batch(shop: Shop, batch: EventBatch) -> pa.RecordBatch:
    types = np.array(EVENT_TYPES, dtype=object)
    columns = [
        pa.array(batch.event_ids(), pa.string()),
        pa.array([shop.user_id(int(index)) for index in batch.user], pa.string()),
        pa.array([shop.product_id(int(index)) for index in batch.product], pa.string()),
        pa.array(types[batch.event_type], pa.string()),
        pa.array(batch.amount, pa.float64(), from_pandas=True),
        pa.array(batch.timestamp_us, pa.timestamp("us", "UTC")),
        pa.nulls(len(batch), pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=EVENT_SCHEMA)
