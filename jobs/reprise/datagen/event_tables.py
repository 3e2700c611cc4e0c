"""Chunks of the shop's events as canonical Arrow tables."""

import numpy as np
import pyarrow as pa

from reprise.event_files.schema import EVENT_SCHEMA
from reprise.shop import EVENT_ID_LENGTH, EVENT_TYPES, EventBatch, Shop

TRUTH_SCHEMA = pa.schema([pa.field("event_id", pa.string()), pa.field("probability", pa.float64())])
"""Columns of a truth file, in the events' order."""

_HUNDRED_PERCENT = 100


class TableMaker:
    """Turns the batches of one shop into tables; the texts of ids are made once."""

    def __init__(self, shop: Shop) -> None:
        self._users = pa.array(shop.user_ids(), pa.string())
        self._products = pa.array(shop.product_ids(), pa.string())
        self._types = pa.array(EVENT_TYPES, pa.string())
        discounts = [f'{{"discount_percent":{percent}}}' for percent in range(1, _HUNDRED_PERCENT + 1)]
        self._metadata = pa.array([None, *discounts], pa.string())

    def events(self, batch: EventBatch) -> pa.Table:
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


def _event_ids(batch: EventBatch) -> pa.Array:
    ends = np.arange(len(batch) + 1, dtype=np.int32) * EVENT_ID_LENGTH
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(batch.event_id_bytes())]
    return pa.Array.from_buffers(pa.string(), len(batch), buffers)
