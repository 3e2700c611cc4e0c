"""State over the pairs of a user or a product, kept by the transitions of their pairs' own features.

When an event changes a pair, every feature of that pair that does not depend on the instant goes from an
old value to a new one. A sum over pairs moves by the difference, and since differences telescope, the sum
is right whatever the order of the events; a maximum over pairs of a feature that never falls is the maximum
of the new values.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reprise.features.accumulators.event_accumulators import Aggregation, Cell
from reprise.features.exceptions import PlanError
from reprise.store.feast.view import StateField


@dataclass(frozen=True, slots=True)
class PairTransition:
    """What one event did to its pair.

    Attributes:
        is_new: Whether this was the pair's first event.
        before: The inner values before the event, by the inner feature's name; NaN where missing.
        after: The inner values after it.
        moved: The inner features whose values are others after than before. Only these change state over
            pairs: a sum moves by a difference, and what has not moved has been compared with a maximum before.
    """

    is_new: bool
    before: Mapping[str, float]
    after: Mapping[str, float]
    moved: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Compare the values."""
        before = self.before
        moved = {name for name, value in self.after.items() if not _same(before[name], value)}
        object.__setattr__(self, "moved", frozenset(moved))


def _same(before: float, after: float) -> bool:
    return before == after or (math.isnan(before) and math.isnan(after))


@dataclass(frozen=True, slots=True)
class PairAccumulator:
    """Bounded state over the pairs of a user or a product.

    Attributes:
        spec: What ``pair_accumulator`` builds this from.
        id: Unique within an entity and stable; the prefix of its fields.
        inner: Name of the pair's inner feature that it aggregates, or None if it counts pairs.
        fields: The state's fields, in order.
        empty: The state of no pair, the identity of ``merge``.
        lift: The change that a transition makes.
        merge: The state of two changes; associative and commutative.
        sql: One expression for each field, over the transition columns that ``batch_sql`` makes.
    """

    spec: Mapping[str, Any]
    id: str
    inner: str | None
    fields: tuple[StateField, ...]
    empty: Cell
    lift: Callable[[PairTransition], Cell]
    merge: Callable[[Cell, Cell], Cell]
    sql: Callable[[Aggregation], tuple[str, ...]]


def pair_count() -> PairAccumulator:
    """Count the pairs that have had an event: a user's distinct products, a product's distinct users."""
    return PairAccumulator(
        spec={"kind": "pair_count"},
        id="pairs_count",
        inner=None,
        fields=(StateField("pairs_count", "int64"),),
        empty=(0,),
        lift=lambda transition: (1,) if transition.is_new else (0,),
        merge=lambda left, right: (left[0] + right[0],),
        sql=lambda past: (f"coalesce({past.over('sum(pair_is_new)')}, 0)::BIGINT",),
    )


def pair_sum(inner: str) -> PairAccumulator:
    """Sum an inner feature over the pairs that have it, and count those pairs."""
    name = f"pairs_{inner}"

    def lift(transition: PairTransition) -> Cell:
        before, after = transition.before[inner], transition.after[inner]
        had, has = not math.isnan(before), not math.isnan(after)
        return has - had, (after if has else 0.0) - (before if had else 0.0)

    return PairAccumulator(
        spec={"kind": "pair_sum", "inner": inner},
        id=f"{name}_sum",
        inner=inner,
        fields=(StateField(f"{name}_n", "int64"), StateField(f"{name}_sum", "double")),
        empty=(0, 0.0),
        lift=lift,
        merge=lambda left, right: (left[0] + right[0], left[1] + right[1]),
        sql=lambda past: (
            f"coalesce({past.over(f'sum({inner}_gained)')}, 0)::BIGINT",
            f"coalesce({past.over(f'sum({inner}_moved)')}, 0)",
        ),
    )


def pair_max(inner: str) -> PairAccumulator:
    """Keep the largest value over the pairs of an inner feature that never falls."""
    name = f"pairs_{inner}_max"

    def merge(left: Cell, right: Cell) -> Cell:
        if left[0] is None:
            return right
        if right[0] is None or left[0] >= right[0]:
            return left
        return right

    def lift(transition: PairTransition) -> Cell:
        after = transition.after[inner]
        return (None if math.isnan(after) else after,)

    return PairAccumulator(
        spec={"kind": "pair_max", "inner": inner},
        id=name,
        inner=inner,
        fields=(StateField(name, "double"),),
        empty=(None,),
        lift=lift,
        merge=merge,
        sql=lambda past: (past.over(f"max({inner}_after)"),),
    )


_BUILDERS: dict[str, Callable[..., PairAccumulator]] = {
    "pair_count": pair_count,
    "pair_sum": pair_sum,
    "pair_max": pair_max,
}


def is_pair_spec(spec: Mapping[str, Any]) -> bool:
    """Say whether a plan's accumulator ``spec`` is one over pairs."""
    return spec.get("kind") in _BUILDERS


def pair_accumulator(spec: Mapping[str, Any]) -> PairAccumulator:
    """Build the accumulator over pairs that a plan's ``spec`` describes.

    Raises:
        PlanError: The kind is unknown, or its parameters are not what it takes.
    """
    builder = _BUILDERS.get(spec.get("kind", ""))
    if builder is None:
        raise PlanError(
            f"unknown pair accumulator kind {spec.get('kind')!r}; known are {', '.join(_BUILDERS)}"
        )
    try:
        return builder(**{name: value for name, value in spec.items() if name != "kind"})
    except TypeError as error:
        raise PlanError(f"pair accumulator {dict(spec)}: {error}") from None
