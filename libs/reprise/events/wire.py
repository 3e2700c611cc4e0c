"""The event as JSON, as it travels through the log and over HTTP."""

import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

from reprise.events.event import SCHEMA_VERSION, Event
from reprise.events.exceptions import InvalidEventError
from reprise.events.timestamps import format_timestamp, parse_timestamp

_EVENT_TYPE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_KNOWN = frozenset(
    ("schema_version", "event_id", "user_id", "product_id", "event_type", "amount", "timestamp", "metadata")
)
_MAX_ID_LENGTH = 256
_MAX_EVENT_BYTES = 64 * 1024


def decode_event(payload: bytes) -> Event:
    """Read an event from its JSON; fields that the format does not know are kept in ``metadata``.

    Raises:
        InvalidEventError: The bytes are no JSON object of at most 64 KiB, or a field breaks the contract.
    """
    if len(payload) > _MAX_EVENT_BYTES:
        raise InvalidEventError("event", len(payload), f"at most {_MAX_EVENT_BYTES} bytes")
    try:
        fields = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise InvalidEventError("event", payload[:80], f"a JSON object ({error})") from None
    if not isinstance(fields, dict):
        raise InvalidEventError("event", fields, "a JSON object")
    return event_from_fields(fields)


def event_from_fields(fields: Mapping[str, Any]) -> Event:
    """Check the fields of a decoded JSON object and return the event.

    Raises:
        InvalidEventError: A field is missing or breaks the contract.
    """
    version = fields.get("schema_version", SCHEMA_VERSION)
    if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
        raise InvalidEventError("schema_version", version, f"a version from 1 to {SCHEMA_VERSION}")
    event_type = fields.get("event_type")
    if not isinstance(event_type, str) or _EVENT_TYPE.fullmatch(event_type) is None:
        raise InvalidEventError("event_type", event_type, "a lower-case name of at most 64 characters")
    return Event(
        event_id=_identifier(fields, "event_id"),
        user_id=_identifier(fields, "user_id"),
        product_id=_identifier(fields, "product_id"),
        event_type=event_type,
        timestamp_us=parse_timestamp(fields.get("timestamp")),
        amount=_amount(fields.get("amount"), event_type),
        metadata=_metadata(fields),
    )


def encode_event(event: Event) -> bytes:
    """Return the event as JSON, fields in a fixed order, the timestamp in UTC."""
    return orjson.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "event_id": event.event_id,
            "user_id": event.user_id,
            "product_id": event.product_id,
            "event_type": event.event_type,
            "amount": event.amount,
            "timestamp": format_timestamp(event.timestamp_us),
            "metadata": dict(event.metadata),
        }
    )


def _identifier(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_ID_LENGTH or "\x00" in value:
        raise InvalidEventError(name, value, f"text of 1 to {_MAX_ID_LENGTH} characters without NUL")
    return value


def _amount(value: object, event_type: str) -> float | None:
    if value is None:
        return None
    expected = "a finite number of at least 0, or null"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidEventError("amount", value, expected)
    try:
        amount = float(value)
    except (ValueError, OverflowError):
        raise InvalidEventError("amount", value, expected) from None
    if not math.isfinite(amount) or amount < 0:
        raise InvalidEventError("amount", value, expected)
    if event_type == "view":
        raise InvalidEventError("amount", value, "null for a view")
    return amount


def _metadata(fields: Mapping[str, Any]) -> dict[str, Any]:
    metadata = fields.get("metadata")
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict):
        raise InvalidEventError("metadata", metadata, "a JSON object, or null")
    unknown = {name: value for name, value in fields.items() if name not in _KNOWN}
    return {**metadata, **unknown} if unknown else metadata
