"""State that a stream can keep per entity: ``lift`` one event, ``merge`` two states, and the same in SQL.

``merge`` is associative and commutative up to floating-point rounding, with the accumulator's ``empty``
as its identity, so that late events, replays and parallel partial sums all end in the same state.
A ``None`` in a state is a missing value. Instants are microseconds since 1970-01-01 UTC.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from reprise.features.exceptions import PlanError
from reprise.store.feast.view import FieldKind, StateField

MICROSECONDS_PER_DAY = 86_400_000_000

Cell = tuple[Any, ...]
"""The state of one accumulator: an int, a float or None for each of its fields."""


@dataclass(frozen=True, slots=True)
class FrameEvent:
    """What a fold needs to know of an event.

    Attributes:
        frame: Name of the event dataframe, such as ``purchases``.
        timestamp_us: When it happened.
        key: Orders events of the same instant, see ``reprise.events.event_key``.
        amount: What was paid; ``None`` where nothing was.
    """

    frame: str
    timestamp_us: int
    key: int
    amount: float | None


class Aggregation(Protocol):
    """How a batch aggregates: over each row's past, or per entity over everything."""

    def over(self, aggregate: str) -> str:
        """Return the SQL of this aggregate function call in this aggregation."""
        ...

    def count(self, value: str) -> str:
        """Return the SQL of how many rows have the value."""
        ...

    def first(self, value: str) -> str:
        """Return the SQL of the value in the first row, in the order of events, that has it."""
        ...

    def last(self, value: str) -> str:
        """Return the SQL of the value in the last row, in the order of events, that has it."""
        ...

    def decayed(self, frame: str, weight: str, half_life_us: int) -> tuple[str, str]:
        """Return the SQL of a decayed sum of ``weight``, and of the instant at which it has that value."""
        ...


@dataclass(frozen=True, slots=True)
class Accumulator:
    """Bounded state over the events of one dataframe.

    Attributes:
        spec: What ``accumulator`` builds this from: its kind, frame and parameters, as in the plan.
        id: Unique within an entity and stable; the prefix of its fields.
        frame: The event dataframe that it accumulates.
        fields: The state's fields, in order.
        empty: The state of no event, the identity of ``merge``.
        lift: The state of one event, which must be of ``frame``.
        merge: The state of the events of both states, which must have none in common.
        sql: One expression for each field, over the columns that ``batch_sql`` lifts from each event.
    """

    spec: Mapping[str, Any]
    id: str
    frame: str
    fields: tuple[StateField, ...]
    empty: Cell
    lift: Callable[[FrameEvent], Cell]
    merge: Callable[[Cell, Cell], Cell]
    sql: Callable[["Aggregation"], tuple[str, ...]]


def count(frame: str) -> Accumulator:
    """Count the events."""
    name = f"{frame}_count"
    return Accumulator(
        spec={"kind": "count", "frame": frame},
        id=name,
        frame=frame,
        fields=_fields(name, "int64"),
        empty=(0,),
        lift=lambda _: (1,),
        merge=lambda left, right: (left[0] + right[0],),
        sql=lambda past: (past.count(f"{frame}_t"),),
    )


def moments(frame: str) -> Accumulator:
    """Count, sum and centred sum of squares (M2) of the amounts that are there.

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
    name = f"{frame}_amount_min"
    return Accumulator(
        spec={"kind": "smallest_amount", "frame": frame},
        id=name,
        frame=frame,
        fields=_fields(name, "double"),
        empty=(None,),
        lift=lambda event: (event.amount,),
        merge=_smaller,
        sql=lambda past: (past.over(f"min({frame}_amount)"),),
    )


def largest_amount(frame: str) -> Accumulator:
    """Keep the largest amount."""
    name = f"{frame}_amount_max"
    return Accumulator(
        spec={"kind": "largest_amount", "frame": frame},
        id=name,
        frame=frame,
        fields=_fields(name, "double"),
        empty=(None,),
        lift=lambda event: (event.amount,),
        merge=_larger,
        sql=lambda past: (past.over(f"max({frame}_amount)"),),
    )


def first_time(frame: str) -> Accumulator:
    """Keep the instant of the earliest event."""
    name = f"{frame}_first_us"
    return Accumulator(
        spec={"kind": "first_time", "frame": frame},
        id=name,
        frame=frame,
        fields=_fields(name, "int64"),
        empty=(None,),
        lift=lambda event: (event.timestamp_us,),
        merge=_smaller,
        sql=lambda past: (past.first(f"{frame}_t"),),
    )


def last_time(frame: str) -> Accumulator:
    """Keep the instant of the latest event."""
    name = f"{frame}_last_us"
    return Accumulator(
        spec={"kind": "last_time", "frame": frame},
        id=name,
        frame=frame,
        fields=_fields(name, "int64"),
        empty=(None,),
        lift=lambda event: (event.timestamp_us,),
        merge=_larger,
        sql=lambda past: (past.last(f"{frame}_t"),),
    )


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


def accumulator(spec: Mapping[str, Any]) -> Accumulator:
    """Build the accumulator that a plan's ``spec`` describes.

    Raises:
        PlanError: The kind is unknown, or its parameters are not what it takes.
    """
    parameters = {name: value for name, value in spec.items() if name != "kind"}
    builder = _BUILDERS.get(spec.get("kind", ""))
    if builder is None:
        raise PlanError(f"unknown accumulator kind {spec.get('kind')!r}; known are {', '.join(_BUILDERS)}")
    try:
        return builder(**parameters)
    except TypeError as error:
        raise PlanError(f"accumulator {dict(spec)}: {error}") from None


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


def _fields(name: str, kind: FieldKind) -> tuple[StateField, ...]:
    return (StateField(name, kind),)


def _smaller(left: Cell, right: Cell) -> Cell:
    if left[0] is None:
        return right
    if right[0] is None or left[0] <= right[0]:
        return left
    return right


def _larger(left: Cell, right: Cell) -> Cell:
    if left[0] is None:
        return right
    if right[0] is None or left[0] >= right[0]:
        return left
    return right


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
