"""Arms and users: buckets are allocated to arms, users are hashed to buckets, distinct users are counted.

A user's bucket is the 8-byte BLAKE2b hash (RFC 7693) of ``salt``, a zero byte and ``user_id``, both in UTF-8, as a
big-endian number modulo 10,000. The bias of the remainder is below 1e-15.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from reprise.routing.document import BASELINE, BUCKETS, Arm, RoutingDocument, RoutingError, count_buckets

Ranges = tuple[tuple[int, int], ...]


class InvalidSharesError(RoutingError, ValueError):
    """Shares add up to more than all users, or name an arm twice."""


@dataclass(frozen=True, slots=True)
class Share:
    """The share of users that a candidate gets: ``weight`` in basis points, 0 for a shadow."""

    name: str
    digest: str
    weight: int
    shadow: bool = False


def allocate(baseline: str, shares: Sequence[Share], held: Mapping[str, Ranges]) -> tuple[Arm, ...]:
    """Return the arms, the baseline first; ``held`` are the present buckets of candidates by name.

    A candidate that grows keeps its buckets and takes more from the baseline. One that shrinks returns its last
    buckets to the baseline. So a user moves between candidates only if the baseline has too few buckets for a change.
    No stateless rule achieves that for three candidates, hence ``held``.

    Raises:
        InvalidSharesError: The weights add up to more than 10,000, or a name occurs twice.
        pydantic.ValidationError: A name or digest is invalid.
    """
    total = sum(share.weight for share in shares)
    if total > BUCKETS:
        raise InvalidSharesError(f"the candidates' shares add up to {total} basis points of {BUCKETS}")
    names = [BASELINE, *(share.name for share in shares)]
    if len(set(names)) != len(names):
        raise InvalidSharesError(f"an arm occurs twice: {', '.join(names)}")
    kept = {share.name: _first(held.get(share.name, ()), share.weight) for share in shares}
    arms = []
    for share in shares:
        missing = share.weight - count_buckets(kept[share.name])
        of_baseline = _complement([*held.values(), *kept.values()])
        taken = _first(of_baseline, missing)
        # Only if the baseline has too few: buckets that another candidate returns in the same change.
        taken += _first(_complement([*kept.values(), of_baseline]), missing - count_buckets(taken))
        kept[share.name] = _concatenate(kept[share.name], taken)
        arms.append(Arm(**asdict(share), buckets=kept[share.name]))
    free = _complement(kept.values())
    return (Arm(name=BASELINE, digest=baseline, weight=count_buckets(free), buckets=free), *arms)


def bucket_of(salt: str, user_id: str) -> int:
    """Return a user's bucket, 0 to 9,999; the same on every machine and in every version."""
    return _lookup(salt, range(BUCKETS))(user_id)


def assign(document: RoutingDocument) -> Callable[[str], int]:
    """Return the function from a ``user_id`` to the index of the user's arm; it takes about a microsecond.

    It raises ``InvalidSharesError`` if the document has no arms.
    """
    if document.released:
        raise InvalidSharesError("a routing document without arms assigns nobody")
    arm_of_bucket = bytearray(BUCKETS)
    for index, arm in enumerate(document.arms):
        for first, end in arm.buckets:
            arm_of_bucket[first:end] = bytes((index,)) * (end - first)
    return _lookup(document.salt, bytes(arm_of_bucket))


class DistinctUsers:
    """A set of at most ``capacity`` users, at about 100 bytes each.

    Once it is full, nobody is new any more. Which users are counted then depends on when they came and not on their
    arm, so the counts remain a fair sample.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._hashes: set[int] = set()

    def is_new(self, user_id: str) -> bool:
        """Add a user; return whether the user is new."""
        hashes = self._hashes
        # Python caches the 64-bit hash in the string. A collision loses one user.
        hashed = hash(user_id)
        if hashed in hashes or len(hashes) >= self._capacity:
            return False
        hashes.add(hashed)
        return True

    def reset(self) -> None:
        """Remove all users."""
        self._hashes = set()


def _lookup(salt: str, table: Sequence[int]) -> Callable[[str], int]:
    hasher = hashlib.blake2b(salt.encode("utf-8", "surrogatepass") + b"\0", digest_size=8)
    number = int.from_bytes

    def look_up(user_id: str) -> int:
        hashed = hasher.copy()
        hashed.update(user_id.encode("utf-8", "surrogatepass"))
        return table[number(hashed.digest(), "big") % BUCKETS]

    return look_up


def _first(ranges: Sequence[tuple[int, int]], count: int) -> Ranges:
    first: list[tuple[int, int]] = []
    for start, end in ranges:
        if count <= 0:
            break
        first.append((start, min(end, start + count)))
        count -= end - start
    return tuple(first)


def _complement(taken: Iterable[Ranges]) -> Ranges:
    free = []
    free_from = 0
    for start, end in sorted(part for ranges in taken for part in ranges):
        if start > free_from:
            free.append((free_from, start))
        free_from = max(free_from, end)
    if free_from < BUCKETS:
        free.append((free_from, BUCKETS))
    return tuple(free)


def _concatenate(own: Ranges, taken: Ranges) -> Ranges:
    if own and taken and own[-1][1] == taken[0][0]:
        return (*own[:-1], (own[-1][0], taken[0][1]), *taken[1:])
    return own + taken
