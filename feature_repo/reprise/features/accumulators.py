"""Bounded state of an entity: ``lift`` a change, ``merge`` two states, and the same in SQL.

Accumulators over events lift the events of one dataframe. Those of a user or product over its pairs lift the
transitions of the pairs: an event moves every value of its pair that does not depend on the instant from an old to a
new one. A sum over pairs changes by the difference. Differences telescope, so the sum is right whatever the order of
the events. A maximum over pairs of a value that never falls is the maximum of the new values.

``merge`` is associative and commutative up to floating-point rounding, and ``empty`` is its identity. So late
events, replays and parallel partial sums end in the same state. ``None`` in a state is a missing value. Instants
are microseconds since 1970-01-01 UTC.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reprise.features.exceptions import PlanError
from reprise.features.latest_products import merge_lists, pack_entry
from reprise.store.feast.view import FieldKind, StateField

MICROSECONDS_PER_DAY = 86_400_000_000
LATEST_PRODUCTS = "latest_products"
"""Kind of the accumulator of a user's products."""

_MAX_PRODUCTS = 1_000

Cell = tuple[Any, ...]
"""The state of one accumulator: an int, a float, bytes or None for each of its fields."""

Merge = Callable[[Cell, Cell], Cell]


@dataclass(frozen=True, slots=True)
class FrameEvent:
    """What the fold needs of an event."""

    frame: str  # name of the event dataframe, such as ``purchases``
    timestamp_us: int  # when it happened
    key: int  # orders events of the same instant, see ``reprise.events.event_key``
    amount: float | None  # the amount paid, if any
    product_id: str


@dataclass(frozen=True, slots=True)
class PairTransition:
    """The change that one event made to its pair, as the values of the pair's inner features, NaN where missing.

    ``moved`` are the names of the inner features that differ before and after. Only these change state over pairs.
    """

    is_new: bool  # whether this was the pair's first event
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


class Aggregation(ABC):
    """SQL aggregates over a set of rows in their order: a row's past, or all rows of an entity.

    ``count`` is for window functions.
    """

    @abstractmethod
    def over(self, aggregate: str) -> str:
        """Return an aggregate function call over the set."""

    @abstractmethod
    def decayed(self, frame: str, weight: str, half_life_us: int) -> tuple[str, str]:
        """Return a decayed sum of ``weight``, and the instant at which it has that value."""

    @abstractmethod
    def latest_products(self, frame: str, limit: int) -> str:
        """Return the packed list of a user's products with the latest events of a dataframe."""

    @abstractmethod
    def at_end(self, end: str, value: str) -> str:
        """Return the value in the ``first`` or ``last`` row that has it."""

    @abstractmethod
    def record(self, **fields: str) -> str:
        """Return a struct."""

    def count(self, value: str) -> str:
        """Return how many rows have the value; exact up to 2^53."""
        # DuckDB sums doubles more than twice as fast as it counts.
        ones = self.over(f"sum(({value} IS NOT NULL)::INT::DOUBLE)")
        return f"coalesce({ones}, 0)::BIGINT"

    def squares(self, value: str) -> str:
        """Return the centred sum of squares of the rows that have the value; 0 without one."""
        return f"coalesce({self.over(f'var_pop({value})')} * {self.count(value)}, 0)"


@dataclass(frozen=True, slots=True)
class Accumulator:
    """Bounded state over the events of one dataframe, or over the pairs of a user or product.

    ``lift`` returns the state of one ``FrameEvent``, or the change that a ``PairTransition`` makes. ``merge`` takes
    states that have no event in common. ``sql`` returns an expression per field, over the columns of
    ``batch_sql.transitions_select``, or of ``pair_values_select`` for a final state over pairs.
    """

    id: str  # unique within an entity and stable; the prefix of its fields
    fields: tuple[StateField, ...]
    empty: Cell  # the state of no event or pair
    lift: Callable[[Any], Cell]
    merge: Merge
    sql: Callable[[Aggregation], tuple[str, ...]]
    spec: Mapping[str, Any] = field(default_factory=dict)  # kind and parameters, as in the plan

    @property
    def frame(self) -> str | None:
        """The event dataframe that it accumulates; None if it is over pairs."""
        return self.spec.get("frame")

    @property
    def inner(self) -> str | None:
        """Name of the pair's inner feature that it aggregates; None if it counts pairs, or is over events."""
        return self.spec.get("inner")


def _add(left: Cell, right: Cell) -> Cell:
    return (left[0] + right[0],)


def _winner(wins: Callable[[Cell, Cell], bool]) -> Merge:
    """Return the merge that keeps the left state if it wins, else the right one; a missing state loses."""

    def merge(left: Cell, right: Cell) -> Cell:
        if left[0] is None:
            return right
        if right[0] is None or wins(left, right):
            return left
        return right

    return merge


# Written out, because they run several times per event.
def _smaller(left: Cell, right: Cell) -> Cell:
    return right if left[0] is None or (right[0] is not None and right[0] < left[0]) else left


def _larger(left: Cell, right: Cell) -> Cell:
    return right if left[0] is None or (right[0] is not None and right[0] > left[0]) else left


def _number(
    name: str,
    kind: FieldKind,
    empty: int | None,
    lift: Callable[[Any], Cell],
    merge: Merge,
    sql: Callable[[Aggregation], str],
) -> Accumulator:
    return Accumulator(name, (StateField(name, kind),), (empty,), lift, merge, lambda past: (sql(past),))


def _moments(frame: str) -> Accumulator:
    """Count, sum and centred sum of squares (M2) of the amounts that are not missing.

    M2 is merged by the parallel formula of Chan, Golub and LeVeque, "Updating Formulae and a Pairwise
    Algorithm for Computing Sample Variances" (1979).
    """
    name = f"{frame}_amount"

    def merge(left: Cell, right: Cell) -> Cell:
        left_n, left_sum, left_m2 = left
        right_n, right_sum, right_m2 = right
        if left_n == 0:
            return right
        if right_n == 0:
            return left
        n = left_n + right_n
        shift = right_sum / right_n - left_sum / left_n
        return n, left_sum + right_sum, left_m2 + right_m2 + shift * shift * left_n * right_n / n

    return Accumulator(
        id=name,
        fields=(
            StateField(f"{name}_n", "int64"),
            StateField(f"{name}_sum", "double"),
            StateField(f"{name}_m2", "double"),
        ),
        empty=(0, 0.0, 0.0),
        lift=lambda event: (0, 0.0, 0.0) if event.amount is None else (1, event.amount, 0.0),
        merge=merge,
        sql=lambda past: (
            past.count(name),
            f"coalesce({past.over(f'sum({name})')}, 0)",
            past.squares(name),
        ),
    )


def _amount_at_end(frame: str, end: str, wins: Callable[[Cell, Cell], bool]) -> Accumulator:
    """The amount of the earliest or latest event, missing if that one had none; ties by the event's key."""
    name = f"{frame}_{end}_amount"

    def sql(past: Aggregation) -> tuple[str, ...]:
        record = past.record(t=f"{frame}_t", k="event_key", a=f"{frame}_amount")
        event = past.at_end(end, f"CASE WHEN {frame}_t IS NOT NULL THEN {record} END")
        return f"({event}).t", f"({event}).k", f"({event}).a"

    return Accumulator(
        id=name,
        fields=(
            StateField(f"{name}_us", "int64"),
            StateField(f"{name}_key", "int64"),
            StateField(name, "double"),
        ),
        empty=(None, None, None),
        lift=lambda event: (event.timestamp_us, event.key, event.amount),
        merge=_winner(wins),
        sql=sql,
    )


def _decayed(
    name: str, frame: str, half_life_us: int, weight: Callable[[FrameEvent], float], weight_sql: str
) -> Accumulator:
    """Exponential decay; the state is the value at the instant of the latest event, and that instant."""
    if half_life_us <= 0:
        raise PlanError(f"{name}: the half-life must be positive, got {half_life_us} microseconds")
    days, rest = divmod(half_life_us, MICROSECONDS_PER_DAY)
    name = f"{name}_{days}d" + (f"{rest}us" if rest else "")

    def merge(left: Cell, right: Cell) -> Cell:
        if left[1] is None:
            return right
        if right[1] is None:
            return left
        early, late = (left, right) if left[1] <= right[1] else (right, left)
        return late[0] + early[0] * 2.0 ** ((early[1] - late[1]) / half_life_us), late[1]

    return Accumulator(
        id=name,
        fields=(StateField(name, "double"), StateField(f"{name}_us", "int64")),
        empty=(0.0, None),
        lift=lambda event: (weight(event), event.timestamp_us),
        merge=merge,
        sql=lambda past: past.decayed(frame, weight_sql, half_life_us),
    )


def _latest_products(frame: str, limit: int) -> Accumulator:
    """The ``limit`` products that a user bought last; None where the row was begun by a plan without them.

    Such a list would stay incomplete, so it is missing until a backfill.
    """
    if not 0 < limit <= _MAX_PRODUCTS:
        raise PlanError(f"{frame}: a list of products has 1 to {_MAX_PRODUCTS:,}, not {limit!r}")
    name = f"{frame}_latest_products"

    def merge(left: Cell, right: Cell) -> Cell:
        one, other = left[0], right[0]
        return (None if one is None or other is None else merge_lists(one, other, limit),)

    return Accumulator(
        id=name,
        fields=(StateField(name, "bytes"),),
        empty=(b"",),
        lift=lambda event: (pack_entry(event.timestamp_us, event.product_id),),
        merge=merge,
        sql=lambda past: (past.latest_products(frame, limit),),
    )


def _pair_sum(inner: str) -> Accumulator:
    """The sum of an inner feature over the pairs that have it, and the number of those pairs."""

    def lift(transition: PairTransition) -> Cell:
        before, after = transition.before[inner], transition.after[inner]
        had, has = not math.isnan(before), not math.isnan(after)
        return has - had, (after if has else 0.0) - (before if had else 0.0)

    return Accumulator(
        id=f"pairs_{inner}_sum",
        fields=(StateField(f"pairs_{inner}_n", "int64"), StateField(f"pairs_{inner}_sum", "double")),
        empty=(0, 0.0),
        lift=lift,
        merge=lambda left, right: (left[0] + right[0], left[1] + right[1]),
        sql=lambda past: (
            f"coalesce({past.over(f'sum({inner}_gained)')}, 0)::BIGINT",
            f"coalesce({past.over(f'sum({inner}_moved)')}, 0)",
        ),
    )


def _pair_max(inner: str) -> Accumulator:
    def lift(transition: PairTransition) -> Cell:
        after = transition.after[inner]
        return (None if math.isnan(after) else after,)

    return _number(
        f"pairs_{inner}_max", "double", None, lift, _larger, lambda past: past.over(f"max({inner}_after)")
    )


def _amount_extreme(frame: str, end: str, merge: Merge) -> Accumulator:
    return _number(
        f"{frame}_amount_{end}",
        "double",
        None,
        lambda event: (event.amount,),
        merge,
        lambda past: past.over(f"{end}({frame}_amount)"),
    )


def _time_at_end(frame: str, end: str, merge: Merge) -> Accumulator:
    return _number(
        f"{frame}_{end}_us",
        "int64",
        None,
        lambda event: (event.timestamp_us,),
        merge,
        lambda past: past.at_end(end, f"{frame}_t"),
    )


OVER_EVENTS: Mapping[str, Callable[..., Accumulator]] = {
    "count": lambda frame: _number(
        f"{frame}_count", "int64", 0, lambda _: (1,), _add, lambda past: past.count(f"{frame}_t")
    ),
    "moments": _moments,
    "smallest_amount": lambda frame: _amount_extreme(frame, "min", _smaller),
    "largest_amount": lambda frame: _amount_extreme(frame, "max", _larger),
    "first_time": lambda frame: _time_at_end(frame, "first", _smaller),
    "last_time": lambda frame: _time_at_end(frame, "last", _larger),
    "first_amount": lambda frame: _amount_at_end(frame, "first", lambda one, other: one[:2] <= other[:2]),
    "last_amount": lambda frame: _amount_at_end(frame, "last", lambda one, other: one[:2] >= other[:2]),
    "decayed_count": lambda frame, half_life_us: _decayed(
        f"{frame}_decayed_count", frame, half_life_us, lambda _: 1.0, "1.0"
    ),
    "decayed_sum": lambda frame, half_life_us: _decayed(
        f"{frame}_decayed_sum", frame, half_life_us, lambda event: event.amount or 0.0, f"{frame}_amount"
    ),
    LATEST_PRODUCTS: _latest_products,
}
"""Accumulators over the events of a dataframe, by kind."""

OVER_PAIRS: Mapping[str, Callable[..., Accumulator]] = {
    # The pairs that have had an event: a user's distinct products, a product's distinct users.
    "pair_count": lambda: _number(
        "pairs_count",
        "int64",
        0,
        lambda transition: (1,) if transition.is_new else (0,),
        _add,
        lambda past: f"coalesce({past.over('sum(pair_is_new)')}, 0)::BIGINT",
    ),
    "pair_sum": _pair_sum,
    "pair_max": _pair_max,
}
"""Accumulators over the pairs of a user or product, by kind."""


def accumulator(spec: Mapping[str, Any]) -> Accumulator:
    """Return the accumulator of a plan's ``spec``: its kind, and the parameters of that kind.

    Raises:
        PlanError: The kind or a parameter is unknown, or a parameter is missing.
    """
    kinds = {**OVER_EVENTS, **OVER_PAIRS}
    kind = spec.get("kind", "")
    if kind not in kinds:
        raise PlanError(f"unknown accumulator kind {spec.get('kind')!r}; known are {', '.join(kinds)}")
    try:
        built = kinds[kind](**{name: value for name, value in spec.items() if name != "kind"})
    except TypeError as error:
        raise PlanError(f"accumulator {dict(spec)}: {error}") from None
    return replace(built, spec=spec)
