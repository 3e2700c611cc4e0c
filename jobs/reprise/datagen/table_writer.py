"""Batches of events as canonical Arrow tables, written to CSV or Parquet."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reprise.event_files.schema import EVENT_SCHEMA
from reprise.runtime.files import atomic_write
from reprise.shop import EVENT_TYPES, EventBatch, Shop

TRUTH_SCHEMA = pa.schema([pa.field("event_id", pa.string()), pa.field("probability", pa.float64())])
"""Columns of a truth file, in the events' order."""


class EventTables:
    """Tables of the batches of one shop; the ids are formatted once."""

    def __init__(self, shop: Shop) -> None:
        self._users = pa.array(shop.user_ids(), pa.string())
        self._products = pa.array(shop.product_ids(), pa.string())
        self._types = pa.array(EVENT_TYPES, pa.string())
        discounts = [f'{{"discount_percent":{percent}}}' for percent in range(1, 101)]
        self._metadata = pa.array([None, *discounts], pa.string())

    def build(self, batch: EventBatch) -> pa.Table:
        """Return the canonical table of a batch."""
        columns = [
            pa.array(batch.ascii_event_ids()).cast(pa.string()),
            self._users.take(pa.array(batch.user)),
            self._products.take(pa.array(batch.product)),
            self._types.take(pa.array(batch.event_type)),
            pa.array(batch.amount, from_pandas=True),
            pa.array(batch.timestamp_us.view("datetime64[us]")).cast(EVENT_SCHEMA.field("timestamp").type),
            self._metadata.take(pa.array(batch.discount)),
        ]
        return pa.Table.from_arrays(columns, schema=EVENT_SCHEMA)


def truth_table(events: pa.Table, batch: EventBatch) -> pa.Table:
    """Return the truth table of the events of a batch whose stream has a horizon."""
    return pa.Table.from_arrays([events["event_id"], pa.array(batch.probability)], schema=TRUTH_SCHEMA)


@contextmanager
def table_file(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Open a CSV or Parquet file, by its extension; what it yields appends a table. The file is complete or absent.

    CSV is RFC 4180 with a header; null is empty, timestamps are RFC 3339 in UTC with microseconds.
    """
    with atomic_write(path) as file_path:
        if path.suffix.lower() == ".csv":
            with file_path.open("wb") as file:
                file.write((",".join(schema.names) + "\n").encode())
                yield lambda table: file.writelines(map(_csv_lines, table.to_batches()))
        else:
            columns = [name for name in schema.names if name not in ("event_id", "timestamp", "probability")]
            with pq.ParquetWriter(file_path, schema, compression="zstd", use_dictionary=columns) as writer:
                yield writer.write


def _csv_lines(batch: pa.RecordBatch) -> memoryview:
    # Arrow's own writer quotes every text.
    join = partial(pc.binary_join_element_wise, null_handling="replace", null_replacement="")
    *columns, last = (_csv_text(column) for column in batch.columns)
    lines = join(*columns, join(last, "\n", ""), ",")
    _, offsets, text = lines.buffers()
    ends = memoryview(offsets).cast("i")
    return memoryview(text)[ends[lines.offset] : ends[lines.offset + len(lines)]]


def _csv_text(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        return pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")
    if pa.types.is_string(column.type):
        has_quote = pc.match_substring(column, '"')
        if not pc.any(has_quote).as_py():
            return column
        quoted = pc.binary_join_element_wise('"', pc.replace_substring(column, '"', '""'), '"', "")
        return pc.if_else(has_quote, quoted, column)
    return column.cast(pa.string())
