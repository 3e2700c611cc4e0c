"""A user's action on a product."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from reprise.runtime.exceptions import RepriseError

SCHEMA_VERSION = 1
"""The newest version of the wire format, which this package writes."""

EVENT_TYPE_PATTERN: Final = "[a-z][a-z0-9_.-]{0,63}"
"""Regular expression of a whole event type, in Python and in SQL."""

MAX_ID_LENGTH: Final = 256
"""Maximum characters of the ids of events, users and products."""

CANARY_PREFIX: Final = "reprise-doctor-"
"""Prefix of the user and product ids of synthetic canary events.

Canaries are folded and predicted like all users. Readers of the archive skip them.
"""


class InvalidEventError(RepriseError):
    """A field of an event is invalid."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        self.field = field
        self.value = value
        self.expected = expected
        shown = repr(value)
        if len(shown) > 80:
            shown = shown[:77] + "..."
        super().__init__(f"{field}: expected {expected}, got {shown}")


@dataclass(frozen=True, slots=True)
class Event:
    """A user's action on a product.

    Attributes:
        event_id: Identity of the event; a second event with the same id is a duplicate.
        user_id: Opaque id of the user.
        product_id: Opaque id of the product.
        event_type: ``view``, ``purchase``, or another lower-case name.
        timestamp_us: Time of the event, microseconds since 1970-01-01 UTC.
        amount: Amount paid, in the shop's currency, non-negative; ``None`` if nothing was paid.
        metadata: Other fields of the event.
    """

    event_id: str
    user_id: str
    product_id: str
    event_type: str
    timestamp_us: int
    amount: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def event_key(event_id: str) -> int:
    """Return the 60-bit number that orders events with equal timestamps.

    It is the first 15 hexadecimal digits of the id's MD5, which SQL can compute and a signed 64-bit integer can hold.
    """
    return int(hashlib.md5(event_id.encode(), usedforsecurity=False).hexdigest()[:15], 16)


def is_canary(user_id: str) -> bool:
    """Return whether a user is a canary."""
    return user_id.startswith(CANARY_PREFIX)
