"""State over the pairs of a user or a product, updated by the transitions of the pairs' own features.

An event moves every feature of its pair that does not depend on the instant from an old value to a new one. A sum
over pairs changes by the difference. Differences telescope, so the sum is right whatever the order of the events.
A maximum over pairs of a feature that never falls is the maximum of the new values.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reprise.features.accumulators.event_accumulators import Aggregation, Cell, Merge, build, larger
from reprise.store.feast.view import StateField


@dataclass(frozen=True, slots=True)
class PairTransition:
    """The change that one event made to its pair.

    Attributes:
        is_new: Whether this was the pair's first event.
        before: The inner values before the event, by the inner feature's name; NaN where missing.
        after: The inner values after it.
        moved: The inner features whose values differ before and after. Only these change state over pairs.
    """

    is_new: bool
    before: Mapping[str, float]
    after: Mapping[str, float]
    moved: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        before, isnan = self.before, math.isnan
        moved = {
            name
            for name, value in self.after.items()
            if before[name] != value and not (isnan(before[name]) and isnan(value))
        }
        object.__setattr__(self, "moved", frozenset(moved))


@dataclass(frozen=True, slots=True)
class PairAccumulator:
    """Bounded state over the pairs of a user or a product.

    Attributes:
        spec: Kind and parameters, as in the plan; ``pair_accumulator`` builds from it.
        id: Unique within an entity and stable; the prefix of its fields.
        inner: Name of the pair's inner feature that it aggregates; None if it counts pairs.
        fields: The state's fields, in order.
        empty: The state of no pair.
        lift: The change that a transition makes.
        merge: The state of both changes; associative and commutative.
        sql: One expression per field, over the columns of ``batch_sql.transitions_select``.
    """

    spec: Mapping[str, Any]
    id: str
    inner: str | None
    fields: tuple[StateField, ...]
    empty: Cell
    lift: Callable[[PairTransition], Cell]
    merge: Merge
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
        merge=larger,
        sql=lambda past: (past.over(f"max({inner}_after)"),),
    )


_BUILDERS: dict[str, Callable[..., PairAccumulator]] = {
    builder.__name__: builder for builder in (pair_count, pair_sum, pair_max)
}


def is_pair_spec(spec: Mapping[str, Any]) -> bool:
    """Return whether a plan's accumulator ``spec`` is one over pairs."""
    return spec.get("kind") in _BUILDERS


def pair_accumulator(spec: Mapping[str, Any]) -> PairAccumulator:
    """Return the accumulator over pairs of a plan's ``spec``, see ``event_accumulators.build``."""
    return build("pair accumulator", _BUILDERS, spec)
