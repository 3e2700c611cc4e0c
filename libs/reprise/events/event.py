"""A user's action on a product, and its JSON in the log and over HTTP, with RFC 3339 timestamps."""

import hashlib
import re
import time
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from reprise.runtime.exceptions import RepriseError

SCHEMA_VERSION = 1
"""The newest version of the wire format, which this package writes."""

EVENT_TYPE_PATTERN: Final = "[a-z][a-z0-9_.-]{0,63}"
"""Regular expression of a whole event type, in Python and in SQL."""

NUMBER_PATTERN: Final = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
"""Regular expression of a number in text, in Python and in SQL."""

METADATA_FIELDS_PATTERN: Final = "([A-Za-z0-9_-]+(,[A-Za-z0-9_-]+)*)?"
"""Regular expression of a list of names of fields that are kept as metadata."""

MAX_ID_LENGTH: Final = 256
"""Maximum characters of the ids of events, users and products."""

MAX_AMOUNT: Final = 1e12
"""Maximum amount: sums of squares over any history stay finite, in float32 too."""

MAX_CLOCK_SKEW_SECONDS: Final = 86_400.0
"""Maximum of the setting for the allowed clock skew."""

ERA_US: Final = (631_152_000_000_000, 4_102_444_800_000_000)
"""The instants of events, from 1990 and before 2100, microseconds since 1970-01-01 UTC."""

CANARY_PREFIX: Final = "reprise-doctor-"
"""Prefix of the user and product ids of synthetic canary events.

Canaries are folded and predicted like all users. Readers of the archive skip them.
"""

ERASED_PREFIX: Final = "reprise-erased-"
"""Prefix of the ids that replace those of erased users and of their events."""

ANONYMOUS: Final = "anonymous"
"""``posted_by`` of events that were posted without an API key."""

KEY_PREFIX: Final = "key:"
"""Prefix of the name of an API key in ``posted_by``."""

_ERASED_ID = re.compile(ERASED_PREFIX + "([0-9a-f]{15})-")
_EVENT_TYPE = re.compile(EVENT_TYPE_PATTERN)
_NUMBER = re.compile(rf"\s*{NUMBER_PATTERN}\s*")
_KNOWN = frozenset(
    (
        *("schema_version", "event_id", "user_id", "product_id", "event_type"),
        *("amount", "timestamp", "metadata", "posted_by"),
    )
)
_MAX_EVENT_BYTES = 64 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY_US = timedelta(days=1) // _MICROSECOND


class InvalidEventError(RepriseError):
    """A field of an event is invalid."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        self.field = field
        self.value = value
        self.expected = expected
        try:
            shown = repr(value)
        except RecursionError:
            shown = "a value of too many levels"
        if len(shown) > 80:
            shown = shown[:77] + "..."
        super().__init__(f"{field}: expected {expected}, got {shown}")


class EarlyEventError(InvalidEventError):
    """An event's timestamp is later than its arrival and the allowed clock skew."""


class LateEventError(InvalidEventError):
    """An event arrived later than its maximum age."""


@dataclass(frozen=True, slots=True)
class Event:
    """A user's action on a product."""

    event_id: str  # identity of the event; a second event with the same id is a duplicate
    user_id: str  # opaque id of the user
    product_id: str  # opaque id of the product
    event_type: str  # ``view``, ``purchase``, or another lower-case name
    timestamp_us: int  # time of the event, microseconds since 1970-01-01 UTC
    amount: float | None = None  # amount paid, in the shop's currency, 0 to ``MAX_AMOUNT``
    metadata: Mapping[str, Any] = field(default_factory=dict)  # other fields, of the names that are kept
    posted_by: str | None = None  # ``key:NAME`` or ``anonymous`` if it came over HTTP, as the producer says


def event_key(event_id: str) -> int:
    """Return the 60-bit number that orders events with equal timestamps.

    It is the first 15 hexadecimal digits of the id's MD5, which SQL can compute and a signed 64-bit integer can hold.
    The id of an erased event has those of its former id.
    """
    if event_id.startswith(ERASED_PREFIX) and (erased := _ERASED_ID.match(event_id)):
        return int(erased[1], 16)
    return int(hashlib.md5(event_id.encode(), usedforsecurity=False).hexdigest()[:15], 16)


def is_canary(user_id: str) -> bool:
    """Return whether a user is a canary."""
    return user_id.startswith(CANARY_PREFIX)


def decode_event(payload: bytes, kept_fields: Container[str] = ()) -> Event:
    """Return the event of a JSON object; see ``event_from_fields``.

    Raises:
        InvalidEventError: The bytes are not a JSON object of at most 64 KiB, or a field is invalid.
    """
    if len(payload) > _MAX_EVENT_BYTES:
        raise InvalidEventError("event", len(payload), f"at most {_MAX_EVENT_BYTES} bytes")
    return event_from_fields(json_object(payload, "event"), kept_fields)


@dataclass(frozen=True, slots=True)
class ArrivalWindow:
    """How far the timestamp of an event may be from its arrival."""

    max_skew_seconds: float = MAX_CLOCK_SKEW_SECONDS  # after the arrival
    max_age_days: float = 0  # before the arrival; 0 for no maximum

    def check(self, event: Event, logged_ms: int | None = None) -> None:
        """Check that an event is neither later than its arrival and the clock skew nor older than the maximum age.

        It arrived when the log appended it, in milliseconds since 1970-01-01, so that a replay decides the same. The
        writer's clock may have set that timestamp: one in the future, or a negative one, counts as now.

        Raises:
            EarlyEventError: The event is later.
            LateEventError: The event is older.
        """
        arrived_us = time.time_ns() // 1_000
        if logged_ms is not None and logged_ms >= 0:
            arrived_us = min(arrived_us, logged_ms * 1_000)
        if event.timestamp_us > arrived_us + self.max_skew_seconds * 1e6:
            bound = f"{self.max_skew_seconds:g} s after"
            raise EarlyEventError(*_beyond(event, bound, arrived_us))
        if self.max_age_days and event.timestamp_us < arrived_us - self.max_age_days * _DAY_US:
            bound = f"{self.max_age_days:g} days before"
            raise LateEventError(*_beyond(event, bound, arrived_us))


def json_object(payload: bytes, name: str) -> dict[str, Any]:
    """Return a JSON object; raises ``InvalidEventError`` with the name if the bytes are none."""
    try:
        fields = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise InvalidEventError(name, payload[:80], f"a JSON object ({error})") from None
    if not isinstance(fields, dict):
        raise InvalidEventError(name, fields, "a JSON object")
    return fields


def event_from_fields(fields: Mapping[str, Any], kept_fields: Container[str] = ()) -> Event:
    """Return the event of a decoded JSON object.

    Unknown fields and members of ``metadata`` are dropped, except those named in ``kept_fields``: they become metadata.

    Raises:
        InvalidEventError: A field is missing or invalid, or the event cannot be written in 64 KiB.
    """
    version = fields.get("schema_version", SCHEMA_VERSION)
    if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
        raise InvalidEventError("schema_version", version, f"a version from 1 to {SCHEMA_VERSION}")
    event_type = fields.get("event_type")
    if not isinstance(event_type, str) or _EVENT_TYPE.fullmatch(event_type) is None:
        raise InvalidEventError("event_type", event_type, "a lower-case name of at most 64 characters")
    event = Event(
        event_id=_identifier(fields, "event_id"),
        user_id=_identifier(fields, "user_id"),
        product_id=_identifier(fields, "product_id"),
        event_type=event_type,
        timestamp_us=_timestamp_us(fields.get("timestamp")),
        amount=_amount(fields.get("amount"), event_type),
        metadata=_metadata(fields, kept_fields),
        posted_by=None if fields.get("posted_by") is None else _identifier(fields, "posted_by"),
    )
    if event.metadata:
        # orjson reads more levels than it writes, and writes 1e15 in 18 bytes
        try:
            size = len(encode_event(event))
        except orjson.JSONEncodeError as error:
            expected = f"JSON that can be written ({error})"
            raise InvalidEventError("metadata", event.metadata, expected) from None
        if size > _MAX_EVENT_BYTES:
            raise InvalidEventError("event", size, f"at most {_MAX_EVENT_BYTES} bytes when written")
    return event


def encode_event(event: Event) -> bytes:
    """Return the event as JSON with a fixed field order and the timestamp in UTC."""
    fields = {
        "schema_version": SCHEMA_VERSION,
        "event_id": event.event_id,
        "user_id": event.user_id,
        "product_id": event.product_id,
        "event_type": event.event_type,
        "amount": event.amount,
        "timestamp": format_timestamp(event.timestamp_us),
        "metadata": dict(event.metadata),
    }
    return orjson.dumps(fields if event.posted_by is None else fields | {"posted_by": event.posted_by})


def parse_timestamp(text: object, field: str = "timestamp") -> int:
    """Return the microseconds since 1970-01-01 UTC of an RFC 3339 date-time with an offset.

    Raises:
        InvalidEventError: The text is not a date-time, or has no offset (``Z`` or ``+02:00``).
    """
    try:
        # RFC 3339 also has a lower-case t and z
        moment = datetime.fromisoformat(text.upper()) if isinstance(text, str) else None
        if moment is not None and moment.tzinfo is not None:
            return (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        pass
    raise InvalidEventError(field, text, "an RFC 3339 date-time with an offset, such as 2026-01-31T12:00:00Z")


def format_timestamp(timestamp_us: int) -> str:
    """Return the RFC 3339 text, in UTC, of an instant in microseconds since 1970-01-01."""
    text = (_EPOCH + timestamp_us * _MICROSECOND).isoformat()
    return text.removesuffix("+00:00") + "Z"


def _beyond(event: Event, bound: str, arrived_us: int) -> tuple[str, str, str]:
    expected = f"at most {bound} its arrival at {format_timestamp(arrived_us)}"
    return "timestamp", format_timestamp(event.timestamp_us), expected


def _identifier(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_LENGTH or "\x00" in value:
        raise InvalidEventError(name, value, f"text of 1 to {MAX_ID_LENGTH} characters without NUL")
    return value


def _timestamp_us(text: object) -> int:
    timestamp_us = parse_timestamp(text)
    if not ERA_US[0] <= timestamp_us < ERA_US[1]:
        raise InvalidEventError("timestamp", text, "an instant of the years 1990 to 2099")
    return timestamp_us


def _amount(value: object, event_type: str) -> float | None:
    if value is None:
        return None
    expected = f"a number from 0 to {MAX_AMOUNT:g}, or null"
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | str)
        or (isinstance(value, str) and not _NUMBER.fullmatch(value))
    ):
        raise InvalidEventError("amount", value, expected)
    try:
        amount = float(value)
    except (ValueError, OverflowError):
        raise InvalidEventError("amount", value, expected) from None
    if not 0 <= amount <= MAX_AMOUNT:
        raise InvalidEventError("amount", value, expected)
    if event_type == "view":
        raise InvalidEventError("amount", value, "null for a view")
    return amount


def _metadata(fields: Mapping[str, Any], kept_fields: Container[str]) -> dict[str, Any]:
    metadata = fields.get("metadata")
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict):
        raise InvalidEventError("metadata", metadata, "a JSON object, or null")
    if not kept_fields:
        return {}
    others = {name: value for name, value in fields.items() if name not in _KNOWN}
    return {name: value for name, value in {**metadata, **others}.items() if name in kept_fields}
