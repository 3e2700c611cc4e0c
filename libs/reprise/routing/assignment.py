"""From a user to an arm.

A user's bucket is the BLAKE2b hash (RFC 7693) of eight bytes' length of ``salt``, a zero byte and ``user_id``,
both in UTF-8, read as a big-endian number, modulo 10,000. The remainder's bias is below 1e-15.
"""

import hashlib
from collections.abc import Callable

from reprise.routing.document import BUCKETS, RoutingDocument
from reprise.routing.exceptions import InvalidSharesError

_BYTES = 8


def bucket_of(salt: str, user_id: str) -> int:
    """Return a user's bucket, 0 to 9,999; the same on every machine and in every version."""
    return _bucketing(salt)(user_id)


def assign(document: RoutingDocument) -> Callable[[str], int]:
    """Return the function from a ``user_id`` to the index of the arm that the user is in.

    The function holds no lock and allocates next to nothing; it takes about a microsecond.

    Raises:
        InvalidSharesError: The document has no arms.
    """
    if document.released:
        raise InvalidSharesError("a routing document without arms assigns nobody")
    table = bytearray(BUCKETS)
    for index, arm in enumerate(document.arms):
        for first, end in arm.buckets:
            table[first:end] = bytes((index,)) * (end - first)
    arms = bytes(table)
    hasher = _hasher(document.salt)
    number = int.from_bytes

    def arm_of(user_id: str) -> int:
        hashed = hasher.copy()
        hashed.update(user_id.encode("utf-8", "surrogatepass"))
        return arms[number(hashed.digest(), "big") % BUCKETS]

    return arm_of


def _hasher(salt: str) -> "hashlib.blake2b":
    return hashlib.blake2b(salt.encode("utf-8", "surrogatepass") + b"\0", digest_size=_BYTES)


def _bucketing(salt: str) -> Callable[[str], int]:
    hasher = _hasher(salt)

    def bucket(user_id: str) -> int:
        hashed = hasher.copy()
        hashed.update(user_id.encode("utf-8", "surrogatepass"))
        return int.from_bytes(hashed.digest(), "big") % BUCKETS

    return bucket
