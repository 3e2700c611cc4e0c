"""Archived predictions as columns."""

from collections.abc import Iterator
from typing import Any

import orjson
import pyarrow as pa

from reprise.events import InvalidEventError, is_canary, parse_timestamp

PREDICTION_SCHEMA = pa.schema(
    [
        pa.field("row_id", pa.int64(), nullable=False),
        pa.field("answered_us", pa.int64(), nullable=False),
        pa.field("timestamp_us", pa.int64(), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("amount", pa.float64()),
        pa.field("is_purchase", pa.float64()),
        pa.field("probability", pa.float64(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("arm", pa.string(), nullable=False),
        pa.field("shadow", pa.bool_(), nullable=False),
        pa.field("features", pa.string(), nullable=False),
    ]
)
"""Instants in microseconds since 1970-01-01 UTC; the features are a JSON object of numbers and nulls."""

_PURCHASE = "purchase"
_USER = 2  # its place in a row


def prediction_batch(batch: pa.RecordBatch, first_row: int) -> tuple[pa.RecordBatch, int]:
    """Return the predictions of a batch of archived records, and how many records are none.

    A record that is no prediction of version 1, as ``docs/schemas`` has it, is counted and left out. So are predictions
    for canaries, but not counted.

    Args:
        batch: Rows of the offline store.
        first_row: Number of the first prediction.
    """
    rows = list(_rows(batch))
    readable = [row for row in rows if row is not None]
    kept = [row for row in readable if not is_canary(row[_USER])]
    numbered = [(first_row + at, *row) for at, row in enumerate(kept)]
    columns = zip(*numbered, strict=True) if numbered else ((),) * len(PREDICTION_SCHEMA)
    arrays = [pa.array(list(c), f.type) for c, f in zip(columns, PREDICTION_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=PREDICTION_SCHEMA), len(rows) - len(readable)


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...] | None]:
    for text in batch.column("prediction").to_pylist():
        yield None if text is None else _row(orjson.loads(text))


def _row(said: dict[str, Any]) -> tuple[Any, ...] | None:
    try:
        if said["schema_version"] != 1 or not 0.0 <= said["probability"] <= 1.0:
            return None
        event_type = said["event_type"]
        return (
            parse_timestamp(said["answered_at"]),
            parse_timestamp(said["timestamp"]),
            _text(said["user_id"]),
            _text(said["product_id"]),
            said["amount"],
            None if event_type is None else float(event_type == _PURCHASE),
            float(said["probability"]),
            _text(said["model_version"]),
            _text(said["arm"]),
            bool(said.get("shadow", False)),
            orjson.dumps(said["features"]).decode(),
        )
    except (KeyError, TypeError, InvalidEventError):
        return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
