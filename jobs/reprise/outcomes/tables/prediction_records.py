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
_USER = 2  # column of a row


def prediction_batch(batch: pa.RecordBatch, first_row: int) -> tuple[pa.RecordBatch, int]:
    """Return the predictions of a batch of archived records, and how many records are invalid.

    A valid record is a prediction of version 1, see ``docs/schemas``. Predictions for canaries are left out, uncounted.
    The first prediction gets the number ``first_row``.
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


def _row(record: dict[str, Any]) -> tuple[Any, ...] | None:
    try:
        if record["schema_version"] != 1 or not 0.0 <= record["probability"] <= 1.0:
            return None
        event_type = record["event_type"]
        return (
            parse_timestamp(record["answered_at"]),
            parse_timestamp(record["timestamp"]),
            _text(record["user_id"]),
            _text(record["product_id"]),
            record["amount"],
            None if event_type is None else float(event_type == _PURCHASE),
            float(record["probability"]),
            _text(record["model_version"]),
            _text(record["arm"]),
            bool(record.get("shadow", False)),
            orjson.dumps(record["features"]).decode(),
        )
    except (KeyError, TypeError, InvalidEventError):
        return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
