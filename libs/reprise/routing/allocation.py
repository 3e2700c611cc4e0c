"""Which buckets each candidate has, so that a change of shares moves as few users as it can."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reprise.routing.document import BASELINE, BUCKETS, Arm, width
from reprise.routing.exceptions import InvalidSharesError

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Share:
    """What a candidate is to have.

    Attributes:
        name: The candidate's.
        digest: Its bundle, ``sha256:…``.
        weight: Its share of the users, basis points.
        shadow: Whether it scores without answering; its weight is 0 then.
    """

    name: str
    digest: str
    weight: int
    shadow: bool = False


def allocate(baseline: str, shares: Sequence[Share], held: Mapping[str, Ranges]) -> tuple[Arm, ...]:
    """Return the arms, the baseline first.

    A candidate that grows keeps its own buckets and takes the baseline's; one that shrinks gives its last
    buckets back to the baseline. So no user moves from one candidate to another, except where the baseline
    has not as many as the others grow by in the very same change. No rule without memory can do that for
    three candidates, which is why ``held`` is needed.

    Args:
        baseline: The bundle of the baseline, ``sha256:…``.
        shares: The candidates; their weights add up to 10,000 at most.
        held: The buckets that candidates have now, by name; names that are not in ``shares`` lose theirs.

    Raises:
        InvalidSharesError: The shares exceed all users, or name an arm twice.
        pydantic.ValidationError: A name or digest is none.
    """
    total = sum(share.weight for share in shares)
    if total > BUCKETS:
        raise InvalidSharesError(f"the candidates' shares add up to {total} basis points of {BUCKETS}")
    names = [BASELINE, *(share.name for share in shares)]
    if len(set(names)) != len(names):
        raise InvalidSharesError(f"an arm is named twice: {', '.join(names)}")
    kept = {share.name: _first(held.get(share.name, ()), share.weight) for share in shares}
    arms = []
    for share in shares:
        missing = share.weight - width(kept[share.name])
        baselines = _others([*held.values(), *kept.values()])
        taken = _first(baselines, missing)
        # what another candidate gives up in this same change goes to the baseline if it can
        taken += _first(_others([*kept.values(), baselines]), missing - width(taken))
        kept[share.name] = _joined(kept[share.name], taken)
        arms.append(_arm(share, kept[share.name]))
    free = _others(kept.values())
    return (Arm(name=BASELINE, digest=baseline, weight=width(free), buckets=free), *arms)


def _arm(share: Share, buckets: Ranges) -> Arm:
    return Arm(
        name=share.name, digest=share.digest, weight=share.weight, shadow=share.shadow, buckets=buckets
    )


def _first(ranges: Sequence[tuple[int, int]], count: int) -> Ranges:
    first: list[tuple[int, int]] = []
    for start, end in ranges:
        if count <= 0:
            break
        first.append((start, min(end, start + count)))
        count -= end - start
    return tuple(first)


def _others(taken: Iterable[Ranges]) -> Ranges:
    others = []
    free_from = 0
    for start, end in sorted(part for ranges in taken for part in ranges):
        if start > free_from:
            others.append((free_from, start))
        free_from = max(free_from, end)
    if free_from < BUCKETS:
        others.append((free_from, BUCKETS))
    return tuple(others)


def _joined(own: Ranges, taken: Ranges) -> Ranges:
    if own and taken and own[-1][1] == taken[0][0]:
        return (*own[:-1], (own[-1][0], taken[0][1]), *taken[1:])
    return own + taken
