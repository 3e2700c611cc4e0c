"""Bounded state over the events of an entity: ``lift`` one event, ``merge`` two states, and the same in SQL.

``merge`` is associative and commutative up to floating-point rounding, and ``empty`` is its identity. So late
events, replays and parallel partial sums end in the same state. ``None`` in a state is a missing value. Instants
are microseconds since 1970-01-01 UTC.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from reprise.features.exceptions import PlanError
from reprise.store.feast.view import StateField

MICROSECONDS_PER_DAY = 86_400_000_000

Cell = tuple[Any, ...]
"""The state of one accumulator: an int, a float or None for each of its fields."""

Merge = Callable[[Cell, Cell], Cell]

_Built = TypeVar("_Built")


@dataclass(frozen=True, slots=True)
class FrameEvent:
    """What the fold needs of an event.

    Attributes:
        frame: Name of the event dataframe, such as ``purchases``.
        timestamp_us: When it happened.
        key: Orders events of the same instant, see ``reprise.events.event_key``.
        amount: The amount paid, if any.
    """

    frame: str
    timestamp_us: int
    key: int
    amount: float | None


class Aggregation(ABC):
    """SQL aggregates over a set of events in their order: a row's past, or all of an entity's events.

    ``count``, ``first`` and ``last`` are for window functions.
    """

    @abstractmethod
    def over(self, aggregate: str) -> str:
        """Return an aggregate function call over the set."""

    @abstractmethod
    def decayed(self, frame: str, weight: str, half_life_us: int) -> tuple[str, str]:
        """Return a decayed sum of ``weight``, and the instant at which it has that value."""

    def count(self, value: str) -> str:
        """Return how many rows have the value; exact up to 2^53."""
        # DuckDB sums doubles more than twice as fast as it counts.
        ones = self.over(f"sum(({value} IS NOT NULL)::INT::DOUBLE)")
        return f"coalesce({ones}, 0)::BIGINT"

    def first(self, value: str) -> str:
        """Return the value in the first row that has it."""
        return self.over(f"first_value({value} IGNORE NULLS)")

    def last(self, value: str) -> str:
        """Return the value in the last row that has it."""
        return self.over(f"last_value({value} IGNORE NULLS)")


@dataclass(frozen=True, slots=True)
class Accumulator:
    """Bounded state over the events of one dataframe.

    Attributes:
        spec: Kind, frame and parameters, as in the plan; ``accumulator`` builds from it.
        id: Unique within an entity and stable; the prefix of its fields.
        frame: The event dataframe that it accumulates.
        fields: The state's fields, in order.
        empty: The state of no event.
        lift: The state of one event, which must be of ``frame``.
        merge: The state of the events of both states, which must have none in common.
        sql: One expression per field, over the columns of ``batch_sql.lifted_select``.
    """

    spec: Mapping[str, Any]
    id: str
    frame: str
    fields: tuple[StateField, ...]
    empty: Cell
    lift: Callable[[FrameEvent], Cell]
    merge: Merge
    sql: Callable[[Aggregation], tuple[str, ...]]


def count(frame: str) -> Accumulator:
    """Count the events."""
    name = f"{frame}_count"
    return Accumulator(
        spec={"kind": "count", "frame": frame},
        id=name,
        frame=frame,
        fields=(StateField(name, "int64"),),
        empty=(0,),
        lift=lambda _: (1,),
        merge=lambda left, right: (left[0] + right[0],),
        sql=lambda past: (past.count(f"{frame}_t"),),
    )


def moments(frame: str) -> Accumulator:
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
        spec={"kind": "moments", "frame": frame},
        id=name,
        frame=frame,
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
            f"coalesce({past.over(f'var_pop({name})')} * {past.count(name)}, 0)",
        ),
    )


def smallest_amount(frame: str) -> Accumulator:
    """Keep the smallest amount."""
    field, amount = StateField(f"{frame}_amount_min", "double"), f"{frame}_amount"
    return _extreme("smallest_amount", frame, field, smaller, lambda past: past.over(f"min({amount})"))


def largest_amount(frame: str) -> Accumulator:
    """Keep the largest amount."""
    field, amount = StateField(f"{frame}_amount_max", "double"), f"{frame}_amount"
    return _extreme("largest_amount", frame, field, larger, lambda past: past.over(f"max({amount})"))


def first_time(frame: str) -> Accumulator:
    """Keep the instant of the earliest event."""
    field = StateField(f"{frame}_first_us", "int64")
    return _extreme("first_time", frame, field, smaller, lambda past: past.first(f"{frame}_t"))


def last_time(frame: str) -> Accumulator:
    """Keep the instant of the latest event."""
    field = StateField(f"{frame}_last_us", "int64")
    return _extreme("last_time", frame, field, larger, lambda past: past.last(f"{frame}_t"))


def first_amount(frame: str) -> Accumulator:
    """Keep the amount of the earliest event, missing if that one had none; ties by the event's key."""
    return _amount_at_end("first_amount", frame, lambda left, right: left[:2] <= right[:2])


def last_amount(frame: str) -> Accumulator:
    """Keep the amount of the latest event, missing if that one had none; ties by the event's key."""
    return _amount_at_end("last_amount", frame, lambda left, right: left[:2] >= right[:2])


def decayed_count(frame: str, half_life_us: int) -> Accumulator:
    """Count the events, each halved for every half-life that has passed since."""
    return _decayed("decayed_count", frame, half_life_us, lambda _: 1.0, "1.0")


def decayed_sum(frame: str, half_life_us: int) -> Accumulator:
    """Sum the amounts, each halved for every half-life that has passed since."""
    return _decayed("decayed_sum", frame, half_life_us, lambda event: event.amount or 0.0, f"{frame}_amount")


_BUILDERS: dict[str, Callable[..., Accumulator]] = {
    builder.__name__: builder
    for builder in (
        count,
        moments,
        smallest_amount,
        largest_amount,
        first_time,
        last_time,
        first_amount,
        last_amount,
        decayed_count,
        decayed_sum,
    )
}


def accumulator(spec: Mapping[str, Any]) -> Accumulator:
    """Return the accumulator of a plan's ``spec``, see ``build``."""
    return build("accumulator", _BUILDERS, spec)


def build(what: str, builders: Mapping[str, Callable[..., _Built]], spec: Mapping[str, Any]) -> _Built:
    """Call the builder of the spec's kind with its other entries.

    Raises:
        PlanError: The kind or a parameter is unknown, or a parameter is missing.
    """
    builder = builders.get(spec.get("kind", ""))
    if builder is None:
        raise PlanError(f"unknown {what} kind {spec.get('kind')!r}; known are {', '.join(builders)}")
    try:
        return builder(**{name: value for name, value in spec.items() if name != "kind"})
    except TypeError as error:
        raise PlanError(f"{what} {dict(spec)}: {error}") from None


def smaller(left: Cell, right: Cell) -> Cell:
    """Return the cell of one field with the smaller value."""
    if left[0] is None:
        return right
    if right[0] is None or left[0] <= right[0]:
        return left
    return right


def larger(left: Cell, right: Cell) -> Cell:
    """Return the cell of one field with the larger value."""
    if left[0] is None:
        return right
    if right[0] is None or left[0] >= right[0]:
        return left
    return right


def _extreme(
    kind: str, frame: str, field: StateField, merge: Merge, sql: Callable[[Aggregation], str]
) -> Accumulator:
    """Keep the smallest or largest amount (a double) or instant (an int64)."""
    lifts: dict[str, Callable[[FrameEvent], Cell]] = {
        "double": lambda event: (event.amount,),
        "int64": lambda event: (event.timestamp_us,),
    }
    return Accumulator(
        spec={"kind": kind, "frame": frame},
        id=field.name,
        frame=frame,
        fields=(field,),
        empty=(None,),
        lift=lifts[field.kind],
        merge=merge,
        sql=lambda past: (sql(past),),
    )


def _amount_at_end(kind: str, frame: str, wins: Callable[[Cell, Cell], bool]) -> Accumulator:
    name = f"{frame}_{kind}"

    def merge(left: Cell, right: Cell) -> Cell:
        if left[0] is None:
            return right
        if right[0] is None or wins(left, right):
            return left
        return right

    def sql(past: Aggregation) -> tuple[str, ...]:
        at_end = past.first if kind == "first_amount" else past.last
        event = at_end(
            f"CASE WHEN {frame}_t IS NOT NULL"
            f" THEN struct_pack(t := {frame}_t, k := event_key, a := {frame}_amount) END"
        )
        return f"({event}).t", f"({event}).k", f"({event}).a"

    return Accumulator(
        spec={"kind": kind, "frame": frame},
        id=name,
        frame=frame,
        fields=(
            StateField(f"{name}_us", "int64"),
            StateField(f"{name}_key", "int64"),
            StateField(name, "double"),
        ),
        empty=(None, None, None),
        lift=lambda event: (event.timestamp_us, event.key, event.amount),
        merge=merge,
        sql=sql,
    )


def _decayed(
    kind: str, frame: str, half_life_us: int, weight: Callable[[FrameEvent], float], weight_sql: str
) -> Accumulator:
    """Exponential decay; the state is the value at the instant of the latest event, and that instant."""
    if half_life_us <= 0:
        raise PlanError(f"{kind} of {frame}: the half-life must be positive, got {half_life_us} microseconds")
    days, rest = divmod(half_life_us, MICROSECONDS_PER_DAY)
    name = f"{frame}_{kind}_{days}d" + (f"{rest}us" if rest else "")

    def merge(left: Cell, right: Cell) -> Cell:
        if left[1] is None:
            return right
        if right[1] is None:
            return left
        early, late = (left, right) if left[1] <= right[1] else (right, left)
        return late[0] + early[0] * 2.0 ** ((early[1] - late[1]) / half_life_us), late[1]

    return Accumulator(
        spec={"kind": kind, "frame": frame, "half_life_us": half_life_us},
        id=name,
        frame=frame,
        fields=(StateField(name, "double"), StateField(f"{name}_us", "int64")),
        empty=(0.0, None),
        lift=lambda event: (weight(event), event.timestamp_us),
        merge=merge,
        sql=lambda past: past.decayed(frame, weight_sql, half_life_us),
    )
