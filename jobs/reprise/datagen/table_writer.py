"""Batches of events as canonical Arrow tables, written to CSV or Parquet."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reprise.event_files.schema import EVENT_SCHEMA
from reprise.runtime.files import atomic_write
from reprise.shop import EVENT_ID_LENGTH, EVENT_TYPES, EventBatch, Shop

TRUTH_SCHEMA = pa.schema([pa.field("event_id", pa.string()), pa.field("probability", pa.float64())])
"""Columns of a truth file, in the events' order."""

_MAX_PERCENT = 100


class EventTables:
    """Tables of the batches of one shop; the ids are formatted once."""

    def __init__(self, shop: Shop) -> None:
        self._users = pa.array(shop.user_ids(), pa.string())
        self._products = pa.array(shop.product_ids(), pa.string())
        self._types = pa.array(EVENT_TYPES, pa.string())
        discounts = [f'{{"discount_percent":{percent}}}' for percent in range(1, _MAX_PERCENT + 1)]
        self._metadata = pa.array([None, *discounts], pa.string())

    def build(self, batch: EventBatch) -> pa.Table:
        """Return the canonical table of a batch."""
        columns = [
            _event_ids(batch),
            self._users.take(pa.array(batch.user)),
            self._products.take(pa.array(batch.product)),
            self._types.take(pa.array(batch.event_type)),
            pa.array(batch.amount, from_pandas=True),
            pa.array(batch.timestamp_us.view("datetime64[us]")).cast(EVENT_SCHEMA.field("timestamp").type),
            self._metadata.take(pa.array(batch.discount)),
        ]
        return pa.Table.from_arrays(columns, schema=EVENT_SCHEMA)


def truth_table(batch: EventBatch) -> pa.Table:
    """Return the truth table of a batch whose stream has a horizon."""
    return pa.Table.from_arrays([_event_ids(batch), pa.array(batch.probability)], schema=TRUTH_SCHEMA)


@contextmanager
def table_file(path: Path, schema: pa.Schema) -> Iterator[Any]:
    """Open a CSV or Parquet file, by its extension, whose ``write`` appends a table; it is complete or absent."""
    with atomic_write(path) as partial:
        if path.suffix.lower() == ".csv":
            with partial.open("wb") as file:
                yield _CsvWriter(file, schema)
        else:
            columns = [name for name in schema.names if name not in ("event_id", "timestamp", "probability")]
            with pq.ParquetWriter(partial, schema, compression="zstd", use_dictionary=columns) as writer:
                yield writer


class _CsvWriter:
    """RFC 4180 with a header; null is empty, timestamps are RFC 3339 in UTC with microseconds."""

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._file = file
        self._file.write((",".join(schema.names) + "\n").encode())

    def write(self, table: pa.Table) -> None:
        for batch in table.to_batches():
            columns = [_csv_text(column) for column in batch.columns]
            columns[-1] = pc.binary_join_element_wise(
                columns[-1], "\n", "", null_handling="replace", null_replacement=""
            )
            lines = pc.binary_join_element_wise(*columns, ",", null_handling="replace", null_replacement="")
            _, offsets, text = lines.buffers()
            ends = memoryview(offsets).cast("i")
            self._file.write(memoryview(text)[ends[lines.offset] : ends[lines.offset + len(lines)]])


def _csv_text(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        return pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")
    if pa.types.is_string(column.type):
        if not pc.any(pc.match_substring(column, '"')).as_py():
            return column
        quoted = pc.binary_join_element_wise('"', pc.replace_substring(column, '"', '""'), '"', "")
        return pc.if_else(pc.match_substring(column, '"'), quoted, column)
    return column.cast(pa.string())


def _event_ids(batch: EventBatch) -> pa.Array:
    ends = np.arange(len(batch) + 1, dtype=np.int32) * EVENT_ID_LENGTH
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(batch.event_id_bytes())]
    return pa.Array.from_buffers(pa.string(), len(batch), buffers)
