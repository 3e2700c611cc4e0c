"""Records of the log as rows of the offline store; an invalid record is a row, too."""

import io
import uuid
from collections.abc import Callable, Container, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from reprise.archive.erasures import ERASED
from reprise.event_files.schema import EVENT_SCHEMA
from reprise.events import ArrivalWindow, InvalidEventError, decode_event, json_object
from reprise.events.erasure import ERASED_RECORD, decode_erasure
from reprise.log import EVENTS, PREDICTIONS, Record

ROW_GROUP_ROWS = 131_072

POSITION_FIELDS = (
    pa.field("topic_id", pa.string(), nullable=False),
    pa.field("partition", pa.int32(), nullable=False),
    pa.field("offset", pa.int64(), nullable=False),
    pa.field("log_timestamp", pa.timestamp("ms", tz="UTC"), nullable=False),
)
"""The position of a record and when it was appended; the topic's id is UUID text."""

REJECTED_FIELDS = (pa.field("problem", pa.string()), pa.field("raw", pa.binary()))
"""Why a record is invalid, and its bytes; both null for a valid record."""

POSTED_BY = pa.field("posted_by", pa.string())
"""Who posted an event over HTTP; segments of earlier versions have no such column."""

EVENT_RECORD_SCHEMA = pa.schema([*EVENT_SCHEMA, POSTED_BY, *POSITION_FIELDS, *REJECTED_FIELDS])
"""A record of the events topic; the event's columns are null where ``problem`` is not."""

PREDICTION_RECORD_SCHEMA = pa.schema(
    [
        pa.field("prediction", pa.string()),
        pa.field("user_id", pa.string()),
        pa.field("product_id", pa.string()),
        *POSITION_FIELDS,
        *REJECTED_FIELDS,
    ]
)
"""A record of the predictions topic: its JSON as text, and its user and product."""

_Row = tuple[Any, ...]
_Read = Callable[[Record, ArrivalWindow, Container[str]], _Row]
_WIDEST = ArrivalWindow()


def archive_table(
    topic: str,
    topic_id: bytes,
    records: Sequence[Record],
    window: ArrivalWindow = _WIDEST,
    kept_fields: Container[str] = (),
) -> pa.Table:
    """Return the rows of records of one partition, in their order.

    An event whose timestamp is outside the ``window`` around that of its record is invalid. Its metadata has the
    ``kept_fields`` alone, whoever wrote it to the log, and nothing where these cannot be written in 64 KiB.
    """
    schema, read, width = _READERS[topic]
    identity = str(uuid.UUID(bytes=topic_id))
    rows: list[_Row] = []
    for record in records:
        content: _Row
        rejected: _Row = (None, None)
        try:
            content = read(record, window, kept_fields)
        except InvalidEventError as error:
            content, rejected = (None,) * width, _rejected(record, error)
        rows.append((*content, identity, record.partition, record.offset, record.timestamp_ms, *rejected))
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    arrays = [pa.array(list(column), field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _rejected(record: Record, error: InvalidEventError) -> _Row:
    """Return the problem and the bytes; not those of an erasure, which name the user."""
    if record.value == ERASED_RECORD or decode_erasure(record.value) is not None:
        return ERASED, None
    return str(error), record.value


def to_parquet(table: pa.Table) -> bytes:
    """Return the bytes of a Parquet file; equal rows give equal bytes."""
    out = io.BytesIO()
    with open_writer(out, table.schema) as writer:
        writer.write_table(table, ROW_GROUP_ROWS)
    return out.getvalue()


def open_writer(where: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """Return a Parquet writer with the options of the store's files."""
    return pq.ParquetWriter(where, schema, compression="zstd", write_page_index=True)


def schema_of(topic: str) -> pa.Schema:
    """Return the columns of a topic's records."""
    return _READERS[topic][0]


def _read_event(record: Record, window: ArrivalWindow, kept_fields: Container[str]) -> _Row:
    try:
        event = decode_event(record.value, kept_fields)
    except InvalidEventError:
        # The materializer drops all metadata, so it folds an event whose metadata cannot be written.
        event = decode_event(record.value)
    window.check(event, record.timestamp_ms)
    metadata = orjson.dumps(dict(event.metadata)).decode() if event.metadata else None
    return (
        event.event_id,
        event.user_id,
        event.product_id,
        event.event_type,
        event.amount,
        event.timestamp_us,
        metadata,
        event.posted_by,
    )


def _read_prediction(record: Record, _: ArrivalWindow, __: Container[str]) -> _Row:
    fields = json_object(record.value, "prediction")
    ids = (fields.get(name) for name in ("user_id", "product_id"))
    return (record.value.decode(), *(named if isinstance(named, str) else None for named in ids))


_READERS: dict[str, tuple[pa.Schema, _Read, int]] = {
    EVENTS.name: (EVENT_RECORD_SCHEMA, _read_event, 8),
    PREDICTIONS.name: (PREDICTION_RECORD_SCHEMA, _read_prediction, 3),
}
