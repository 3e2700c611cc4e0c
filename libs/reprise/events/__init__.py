"""The event: its fields, its JSON on the wire, and its identity."""

from reprise.events.event import CANARY_PREFIX, SCHEMA_VERSION, Event, event_key, is_canary
from reprise.events.exceptions import EventsError, InvalidEventError
from reprise.events.timestamps import format_timestamp, parse_timestamp
from reprise.events.wire import decode_event, encode_event, event_from_fields

__all__ = [
    "CANARY_PREFIX",
    "SCHEMA_VERSION",
    "Event",
    "EventsError",
    "InvalidEventError",
    "decode_event",
    "encode_event",
    "event_from_fields",
    "event_key",
    "format_timestamp",
    "is_canary",
    "parse_timestamp",
]
