"""The columns of the offline store: what a record says, and where in the log it is."""

import pyarrow as pa

from reprise.event_files import EVENT_SCHEMA

POSITION_FIELDS = (
    pa.field("topic_id", pa.string(), nullable=False),
    pa.field("partition", pa.int32(), nullable=False),
    pa.field("offset", pa.int64(), nullable=False),
    pa.field("log_timestamp", pa.timestamp("ms", tz="UTC"), nullable=False),
)
"""Where a record is, and when it was appended; the topic's id as UUID text."""

REJECTED_FIELDS = (pa.field("problem", pa.string()), pa.field("raw", pa.binary()))
"""Why a record is not what its topic should hold, and its bytes; both null for every other record."""

EVENT_RECORD_SCHEMA = pa.schema([*EVENT_SCHEMA, *POSITION_FIELDS, *REJECTED_FIELDS])
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
"""A record of the predictions topic: its JSON as text, and the ids that it names."""
