"""The assignment of users to arms.

A user's bucket is the 8-byte BLAKE2b hash (RFC 7693) of ``salt``, a zero byte and ``user_id``, both in UTF-8, as a
big-endian number modulo 10,000. The bias of the remainder is below 1e-15.
"""

import hashlib
from collections.abc import Callable, Sequence

from reprise.routing.document import BUCKETS, RoutingDocument
from reprise.routing.exceptions import InvalidSharesError

_BYTES = 8


def bucket_of(salt: str, user_id: str) -> int:
    """Return a user's bucket, 0 to 9,999; the same on every machine and in every version."""
    return _lookup(salt, range(BUCKETS))(user_id)


def assign(document: RoutingDocument) -> Callable[[str], int]:
    """Return the function from a ``user_id`` to the index of the user's arm; it takes about a microsecond.

    Raises:
        InvalidSharesError: The document has no arms.
    """
    if document.released:
        raise InvalidSharesError("a routing document without arms assigns nobody")
    arm_of_bucket = bytearray(BUCKETS)
    for index, arm in enumerate(document.arms):
        for first, end in arm.buckets:
            arm_of_bucket[first:end] = bytes((index,)) * (end - first)
    return _lookup(document.salt, bytes(arm_of_bucket))


def _lookup(salt: str, table: Sequence[int]) -> Callable[[str], int]:
    """Return the function from a ``user_id`` to the entry of the user's bucket in a table."""
    hasher = hashlib.blake2b(salt.encode("utf-8", "surrogatepass") + b"\0", digest_size=_BYTES)
    number = int.from_bytes

    def look_up(user_id: str) -> int:
        hashed = hasher.copy()
        hashed.update(user_id.encode("utf-8", "surrogatepass"))
        return table[number(hashed.digest(), "big") % BUCKETS]

    return look_up
