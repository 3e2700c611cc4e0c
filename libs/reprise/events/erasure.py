"""The erasure of a user: its record in the event log, and the ids that replace the user's in the archive.

The record divides the user's events: those before it in its partition are erased, those after it are of a new user.
"""

import hashlib
import hmac
from typing import Final, NamedTuple

import orjson

from reprise.events.event import ERASED_PREFIX, event_key

ERASED_RECORD: Final = b'{"erased":true}'
"""Value of a record of the embedded log that was erased."""

_HEAD = b'{"erasure_id":'


class ErasureRecord(NamedTuple):
    """A record of the events topic that erases a user; two of one ``erasure_id`` count once, the first."""

    erasure_id: str
    user_id: str

    def to_bytes(self) -> bytes:
        """Return the record's JSON."""
        return orjson.dumps(self._asdict())


def decode_erasure(payload: bytes) -> ErasureRecord | None:
    """Return the erasure of a record's JSON, or None if it is none."""
    if not payload.startswith(_HEAD):
        return None
    try:
        fields = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    if fields.keys() != set(ErasureRecord._fields) or not all(isinstance(v, str) for v in fields.values()):
        return None
    return ErasureRecord(**fields)


def erased_user_id(salt: bytes, user_id: str, product_id: str) -> str:
    """Return the id that replaces a user's in the events of one product.

    It is another for each product, so that the user's events cannot be put together. The states of the product and
    of the pair depend on no other events of the user.
    """
    return ERASED_PREFIX + _digest(salt, user_id, product_id)


def erased_event_id(salt: bytes, event_id: str) -> str:
    """Return the id that replaces an event's: of the same ``event_key``, so that the order of events stays."""
    return f"{ERASED_PREFIX}{event_key(event_id):015x}-{_digest(salt, event_id)}"


def _digest(salt: bytes, *texts: str) -> str:
    message = "\0".join(texts).encode(errors="surrogatepass")
    return hmac.new(salt, message, hashlib.sha256).hexdigest()[:32]
