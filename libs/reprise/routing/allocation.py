"""Allocation of buckets to arms, such that a change of shares moves as few users as possible."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from reprise.routing.document import BASELINE, BUCKETS, Arm, count_buckets
from reprise.routing.exceptions import InvalidSharesError

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Share:
    """The share of users that a candidate gets: ``weight`` in basis points, 0 for a shadow."""

    name: str
    digest: str
    weight: int
    shadow: bool = False


def allocate(baseline: str, shares: Sequence[Share], held: Mapping[str, Ranges]) -> tuple[Arm, ...]:
    """Return the arms, the baseline first.

    A candidate that grows keeps its buckets and takes more from the baseline. One that shrinks returns its last
    buckets to the baseline. So a user moves between candidates only if the baseline has too few buckets for a change.
    No stateless rule achieves that for three candidates, hence ``held``.

    Args:
        baseline: Digest of the baseline.
        shares: The candidates; their weights add up to at most 10,000.
        held: The present buckets of candidates by name.

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
