"""The event: its fields, its JSON, its identity and its order."""

from reprise.events.event import (
    CANARY_PREFIX,
    SCHEMA_VERSION,
    ArrivalWindow,
    EarlyEventError,
    Event,
    InvalidEventError,
    LateEventError,
    decode_event,
    encode_event,
    event_from_fields,
    event_key,
    format_timestamp,
    is_canary,
    json_object,
    parse_timestamp,
)

__all__ = [
    "CANARY_PREFIX",
    "SCHEMA_VERSION",
    "ArrivalWindow",
    "EarlyEventError",
    "Event",
    "InvalidEventError",
    "LateEventError",
    "decode_event",
    "encode_event",
    "event_from_fields",
    "event_key",
    "format_timestamp",
    "is_canary",
    "json_object",
    "parse_timestamp",
]
