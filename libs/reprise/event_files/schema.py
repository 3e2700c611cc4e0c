"""The canonical table of events."""

import pyarrow as pa

EVENT_SCHEMA = pa.schema(
    [
        pa.field("event_id", pa.string()),
        pa.field("user_id", pa.string()),
        pa.field("product_id", pa.string()),
        pa.field("event_type", pa.string()),
        pa.field("amount", pa.float64()),
        pa.field("timestamp", pa.timestamp("us", tz="UTC")),
        pa.field("metadata", pa.string()),
    ]
)
"""Columns of a canonical Parquet file of events, in order.

``amount`` is null if nothing was paid. ``metadata`` is a JSON object or null. No other column has nulls.
Rows are sorted by ``timestamp`` and ``reprise.events.event_key(event_id)``.
"""
