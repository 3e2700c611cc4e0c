"""The event's JSON in the log and over HTTP, with RFC 3339 timestamps."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from reprise.events.event import EVENT_TYPE_PATTERN, MAX_ID_LENGTH, SCHEMA_VERSION, Event, InvalidEventError

_EVENT_TYPE = re.compile(EVENT_TYPE_PATTERN)
_KNOWN = frozenset(
    ("schema_version", "event_id", "user_id", "product_id", "event_type", "amount", "timestamp", "metadata")
)
_MAX_EVENT_BYTES = 64 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def decode_event(payload: bytes) -> Event:
    """Return the event of a JSON object; unknown fields are moved to ``metadata``.

    Raises:
        InvalidEventError: The bytes are not a JSON object of at most 64 KiB, or a field is invalid.
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
    """Return the event of a decoded JSON object.

    Raises:
        InvalidEventError: A field is missing or invalid.
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
    """Return the event as JSON with a fixed field order and the timestamp in UTC."""
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


def parse_timestamp(text: object, field: str = "timestamp") -> int:
    """Return the microseconds since 1970-01-01 UTC of an RFC 3339 date-time with an offset.

    Raises:
        InvalidEventError: The text is not a date-time, or has no offset (``Z`` or ``+02:00``).
    """
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        if moment is not None and moment.tzinfo is not None:
            return (moment - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        pass
    raise InvalidEventError(field, text, "an RFC 3339 date-time with an offset, such as 2026-01-31T12:00:00Z")


def format_timestamp(timestamp_us: int) -> str:
    """Return the RFC 3339 text, in UTC, of an instant in microseconds since 1970-01-01."""
    text = (_EPOCH + timestamp_us * _MICROSECOND).isoformat()
    return text.removesuffix("+00:00") + "Z"


def _identifier(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_LENGTH or "\x00" in value:
        raise InvalidEventError(name, value, f"text of 1 to {MAX_ID_LENGTH} characters without NUL")
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
