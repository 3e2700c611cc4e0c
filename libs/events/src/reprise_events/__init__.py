"""The event: its fields, its JSON on the wire, and its identity."""

from reprise_events.canaries import CANARY_PREFIX, is_canary
from reprise_events.event import SCHEMA_VERSION, Event, event_key
from reprise_events.exceptions import EventsError, InvalidEventError
from reprise_events.timestamps import format_timestamp, parse_timestamp
from reprise_events.wire import decode_event, encode_event, event_from_fields

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
