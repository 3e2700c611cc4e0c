"""One thing that a user did with a product."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

SCHEMA_VERSION = 1
"""Version of the wire format that this package writes, and the newest that it reads."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a user did with a product at an instant.

    Attributes:
        event_id: Identity of the event; a second event with the same id is a duplicate.
        user_id: Opaque id of the user.
        product_id: Opaque id of the product.
        event_type: ``view``, ``purchase``, or another lower-case name.
        timestamp_us: When it happened, microseconds since 1970-01-01 UTC.
        amount: What was paid, in the shop's currency, non-negative; ``None`` where nothing was.
        metadata: Whatever else came with the event.
    """

    event_id: str
    user_id: str
    product_id: str
    event_type: str
    timestamp_us: int
    amount: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def event_key(event_id: str) -> int:
    """Return the 60-bit number that orders events of the same instant.

    It is the first 15 hexadecimal digits of the MD5 of the id, so that the batch SQL computes the same
    number, and it always fits a signed 64-bit integer.
    """
    return int(hashlib.md5(event_id.encode(), usedforsecurity=False).hexdigest()[:15], 16)


CANARY_PREFIX: Final = "reprise-doctor-"
"""How the ids of canaries begin, users and products; a shop's own must not.

Their events are folded and their predictions answered like anybody's. Whoever reads the archive leaves them out.
"""


def is_canary(user_id: str) -> bool:
    """Return whether a user is a canary."""
    return user_id.startswith(CANARY_PREFIX)
