"""The plan as SQL: one pass of window functions gives every row the states strictly before its own instant.

Instants are BIGINT microseconds. The columns of a dataframe are null for events of other dataframes, so aggregates
skip those.

On DuckDB all windows are ordered by ``position``, which is unique. So their sums are added up in the same order every
time: the same events, in the same number of parts, make the same bits. Final states are sums in the order of DuckDB's
threads. On Spark the past is a range of instants, whose own events are added up in any order.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from reprise.features.accumulators import Accumulator, Aggregation
from reprise.features.feature_functions import double, feature_sql, spec_fields
from reprise.features.plan import EntityName, EntityPlan, Plan
from reprise.features.sql_dialect import DUCKDB, PARTITIONS, SqlDialect
from reprise.sql import literal

BUCKET_HALF_LIVES = 512
"""Half-lives in one sum of decayed weights; 2^512 leaves a double room for amounts and counts."""

_BUCKET_POSITIONS = 2**38
"""Positions in one bucket, where one number orders buckets and positions."""

ROW_COLUMNS = (
    "row_id",
    "event_id",
    "user_id",
    "product_id",
    "event_type",
    "ts",
    "amount",
    "event_key",
    "is_event",
    "is_row",
    "is_purchase",
)
"""The columns of the source of ``lifted_select``. Rows that are no events are requests, and contribute nothing."""


@dataclass(frozen=True)
class Span:
    """The instants of the first and last row or event, microseconds."""

    first_us: int
    last_us: int


def grown_weights(frame: str, weight: str, half_lives: str) -> str:
    """Return the sum of the weights of a dataframe's events, each doubled as many times as ``half_lives``."""
    return f"sum(CASE WHEN {frame}_t IS NOT NULL THEN {weight} * pow(2.0, {half_lives}) END)"


class _DialectAggregation(Aggregation):
    """Aggregates in the SQL of one engine."""

    def __init__(self, dialect: SqlDialect) -> None:
        self.dialect = dialect

    def record(self, **fields: str) -> str:
        return self.dialect.record(fields)


class Past(_DialectAggregation):
    """Aggregates over each row's past in one entity, strictly before the row's own instant."""

    frame = ""

    def __init__(self, entity: str, span: Span, dialect: SqlDialect) -> None:
        super().__init__(dialect)
        self._partition = PARTITIONS[entity]
        self._window = f"{entity}_past"
        self._frame = self.frame or dialect.past(entity)
        self._span = span
        self.window = f"{self._window} AS (PARTITION BY {self._partition} {self._frame})"

    def over(self, aggregate: str) -> str:
        """Return an aggregate over the past."""
        return f"{aggregate} OVER {self._window}"

    def at_end(self, end: str, value: str) -> str:
        """Return the value in the first or last row of the past that has it."""
        return self.over(self.dialect.end_of_window(end, value))

    def latest_products(self, frame: str, limit: int) -> str:
        """Return the list before the row."""
        # A column of ``_lists_select``: a window would keep all events of the past for every row.
        return f"coalesce({frame}_latest_{limit}, ''::BLOB)"

    def decayed(self, frame: str, weight: str, half_life_us: int) -> tuple[str, str]:
        """Return the decayed sum at the row's own instant, and that instant; null without events.

        Weights are scaled to a common origin, so that one prefix sum serves all rows. The factors are positive, so
        nothing cancels. A history of more half-lives than a double can hold is cut into buckets, on DuckDB; weights
        from three buckets before have decayed to less than 2^-1024.
        """
        half_life, origin = float(half_life_us), self._span.first_us
        reference, age = self._reference(frame), f"(ts - {origin}) / {double(half_life)}"
        if (self._span.last_us - origin) / half_life <= BUCKET_HALF_LIVES:
            grown = self.over(grown_weights(frame, weight, age))
            return f"coalesce({grown}, 0) * pow(2.0, -({age}))", reference
        bucket = f"floor(({age}) / {BUCKET_HALF_LIVES})::BIGINT"
        within = f"(({age}) - {BUCKET_HALF_LIVES} * {bucket})"
        present, earlier = (
            grown_weights(frame, weight, f"{within}{less}") for less in ("", f" - {BUCKET_HALF_LIVES}")
        )
        same_bucket = f"{present} OVER (PARTITION BY {self._partition}, {bucket} {self._frame})"
        before = [self._bucket_before(earlier, bucket, back) for back in (1, 2)]
        total = f"coalesce({same_bucket}, 0) + {before[0]} + {before[1]} * pow(2.0, -{BUCKET_HALF_LIVES})"
        return f"({total}) * pow(2.0, -{within})", reference

    def _reference(self, frame: str) -> str:
        """Return the row's own instant; null without events."""
        return f"CASE WHEN {self.at_end('first', f'{frame}_t')} IS NOT NULL THEN ts END"

    def _bucket_before(self, aggregate: str, bucket: str, back: int) -> str:
        """Return the aggregate over all of the bucket that lies ``back`` buckets before the row's own, else 0."""
        window = (
            f"PARTITION BY {self._partition} ORDER BY {bucket} * {_BUCKET_POSITIONS} + position"
            f" RANGE BETWEEN {back * _BUCKET_POSITIONS} + position PRECEDING"
            f" AND {(back - 1) * _BUCKET_POSITIONS} + position + 1 PRECEDING"
        )
        return f"coalesce({aggregate} OVER ({window}), 0)"


class _Inclusive(Past):
    """Aggregates over a row's past in one entity and the row itself."""

    frame = "ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"

    def decayed(self, frame: str, weight: str, half_life_us: int) -> tuple[str, str]:
        """Return the decayed sum at the last event of the dataframe, as the stream keeps it, and that instant.

        In a history of more half-lives than a double can hold it is the equivalent sum at the row's own instant.
        """
        origin, half_life = self._span.first_us, float(half_life_us)
        if (self._span.last_us - origin) / half_life > BUCKET_HALF_LIVES:
            return super().decayed(frame, weight, half_life_us)
        last = self.over(f"max({frame}_t)")
        grown = self.over(f"sum({weight} * pow(2.0, ({frame}_t - {origin}) / {double(half_life)}))")
        return f"coalesce({grown} * pow(2.0, -(({last} - {origin}) / {double(half_life)})), 0)", last


class _Final(_DialectAggregation):
    """Aggregates over all events of an entity, for ``GROUP BY``."""

    def over(self, aggregate: str) -> str:
        return aggregate

    def count(self, value: str) -> str:
        return f"count({value})"

    def at_end(self, end: str, value: str) -> str:
        return self.dialect.end_of_group(end, value)

    def latest_products(self, frame: str, limit: int) -> str:
        packed = self.dialect.packed_list(frame, limit, f"{frame}_t IS NOT NULL AND {frame}_is_last")
        return f"coalesce({packed}, ''::{self.dialect.types['bytes']})"

    def decayed(self, frame: str, weight: str, half_life_us: int) -> tuple[str, str]:
        age = f"({frame}_t - {frame}_entity_last) / {double(half_life_us)}"
        return (
            f"coalesce({grown_weights(frame, weight, age)}, 0)",
            f"max({frame}_t)",
        )


def lifted_select(plan: Plan, source: str, dialect: SqlDialect, pasts: Iterable[EntityName] = ()) -> str:
    """Return the query that adds the columns of its dataframe to each event, and its ``position``.

    The latter orders all rows. There is also what the windows of ``pasts`` need. ``source`` is what follows FROM; its
    rows have ``ROW_COLUMNS``, and may have more.
    """
    peers = [dialect.peers[entity] for entity in pasts]
    return (
        f"SELECT {', '.join(['*', *_frame_columns(plan, 'is_event'), *peers])} FROM"
        f" (SELECT *, {dialect.position} AS position FROM {source})"
    )


def lifted_events_select(plan: Plan, source: str, dialect: SqlDialect) -> str:
    """Return the query that adds the columns of its dataframe to each event, and its ``position`` in their order."""
    position = f"{dialect.event_position} AS position"
    return f"SELECT {', '.join(['*', *_frame_columns(plan, 'true'), position])} FROM {source}"


def _frame_columns(plan: Plan, condition: str) -> list[str]:
    return [
        f"CASE WHEN {condition} AND event_type = {literal(event_type)} THEN {value} END AS {frame}_{name}"
        for event_type, frame in plan.frames.items()
        for value, name in (("ts", "t"), ("amount", "amount"))
    ]


def transitions_select(plan: Plan, source: str, dialect: SqlDialect) -> str:
    """Return the query that adds to lifted events how each changed its pair's inner values."""
    if all(a.frame for entity in plan.entities for a in entity.accumulators):  # none is over pairs
        return f"SELECT * FROM {source}"
    running = _Inclusive("pair", Span(0, 0), dialect)  # values of pairs do not decay
    needed = {name for spec in plan.pair_values.values() for name in spec_fields(spec)}
    states = _named(_states(plan.pair.accumulators, running, "after_", needed))
    events = running.count("CASE WHEN is_event THEN 1 END")
    after = [
        f"CASE WHEN pair_events > 0 THEN {feature_sql(spec, lambda f: f'after_{f}')} END AS {name}_after"
        for name, spec in plan.pair_values.items()
    ]
    by_position = f"PARTITION BY {PARTITIONS['pair']} ORDER BY position"
    moved = []
    for name in plan.pair_values:
        before = f"lag({name}_after) OVER ({by_position})"
        moved += [
            f"({name}_after IS NOT NULL)::INT::DOUBLE - ({before} IS NOT NULL)::INT::DOUBLE AS {name}_gained",
            f"coalesce({name}_after, 0) - coalesce({before}, 0) AS {name}_moved",
        ]
    seen_before = f"coalesce(lag(pair_events) OVER ({by_position}), 0) > 0"
    is_new = f"(pair_events > 0)::INT::DOUBLE - ({seen_before})::INT::DOUBLE"
    inner = f"SELECT {', '.join(['*', *states, f'{events} AS pair_events'])} FROM {source} WINDOW {running.window}"
    valued = f"SELECT {', '.join(['*', *after])} FROM ({inner})"
    return f"SELECT {', '.join(['*', f'{is_new} AS pair_is_new', *moved])} FROM ({valued})"


def past_states(plan: Plan, pasts: Mapping[EntityName, Past]) -> dict[str, str]:
    """Return the states before each row that the inputs are computed from, by ``<entity>__<field>``.

    They are expressions over the columns of ``transitions_select``, with the windows of ``pasts``.
    """
    return {
        name: expression
        for entity in plan.entities
        if entity.name in pasts
        for name, expression in _states(
            entity.accumulators,
            pasts[entity.name],
            f"{entity.name}__",
            {field.name for field in entity.projection.view.fields},
        ).items()
    }


def past_select(
    source: str, pasts: Mapping[EntityName, Past], columns: Sequence[str], expressions: Mapping[str, str]
) -> str:
    """Return the query of ``columns`` and named ``expressions``, such as ``past_states``, for each row in order.

    ``source`` is a table or query in parentheses of ``transitions_select``. The expressions may use the windows of
    ``pasts``.
    """
    rows = with_past_select(source, pasts, expressions, ["is_row", "position", *columns])
    return f"SELECT {', '.join([*columns, *expressions])} FROM ({rows}) WHERE is_row ORDER BY position"


def with_past_select(
    source: str,
    pasts: Mapping[EntityName, Past],
    expressions: Mapping[str, str],
    columns: Sequence[str] = ("*",),
) -> str:
    """Return the query of ``columns`` and named ``expressions``, which may use the windows of ``pasts``."""
    windows = ", ".join(past.window for past in pasts.values())
    return f"SELECT {', '.join([*columns, *_named(expressions)])} FROM {source} WINDOW {windows}"


def pair_values_select(plan: Plan, source: str, dialect: SqlDialect) -> str:
    """Return the query of each pair's inner values after all events, as one change from those of no event.

    It has the columns that ``transitions_select`` adds; the value of each is its sum over the pair's events.
    """
    needed = {name for spec in plan.pair_values.values() for name in spec_fields(spec)}
    # Values of pairs do not decay
    states = _named(_states(plan.pair.accumulators, _Final(dialect), "final_", needed))
    columns = [
        f"{feature_sql(spec, lambda f: f'final_{f}')} AS {name}_after"
        for name, spec in plan.pair_values.items()
    ]
    for name in plan.pair_values:
        columns += [
            f"({name}_after IS NOT NULL)::INT::DOUBLE AS {name}_gained",
            f"coalesce({name}_after, 0) AS {name}_moved",
        ]
    keys = PARTITIONS["pair"]
    grouped = f"SELECT {', '.join([keys, *states])} FROM {source} GROUP BY {keys}"
    return f"SELECT {', '.join([keys, '1.0 AS pair_is_new', *columns])} FROM ({grouped})"


def final_select(
    plan: Plan,
    entity: EntityPlan,
    source: str,
    pair_values: str,
    dialect: SqlDialect,
    prefix: str = "",
    needed: AbstractSet[str] | None = None,
    hot: str | None = None,
) -> str:
    """Return the query of each entity's state after all events: its ids, its fields, and ``last_us``.

    Fields have the prefix; with ``needed`` only those fields are there. ``source`` is a table or query in parentheses
    of ``lifted_events_select``, and ``pair_values`` one of ``pair_values_select``. ``hot`` is a table of
    ``hot_lasts_select``: entities that have too many events for one window.
    """
    keys = PARTITIONS[entity.name]
    if entity.latest_products is not None:
        frame = entity.latest_products.frame
        is_last = (
            f"row_number() OVER (PARTITION BY {PARTITIONS['pair']} ORDER BY {frame}_t DESC NULLS LAST) = 1"
        )
        source = f"(SELECT *, {is_last} AS {frame}_is_last FROM {source})"
    lasts = [f"{last} OVER (PARTITION BY {keys}) AS {name}" for name, last in _entity_lasts(plan).items()]
    with_lasts = f"SELECT *, {', '.join(lasts)} FROM {source}"
    if hot is not None:
        of_hot = " AND ".join(f"e.{key} = h.{key}" for key in keys.split(", "))
        with_lasts = (
            f"{with_lasts} e WHERE NOT EXISTS (SELECT * FROM {hot} h WHERE {of_hot}) UNION ALL"
            f" SELECT e.*, {', '.join(f'h.{name}' for name in _entity_lasts(plan))}"
            f" FROM {source} e JOIN {hot} h ON {of_hot}"
        )
    over_events = [accumulator for accumulator in entity.accumulators if accumulator.frame]
    over_pairs = [accumulator for accumulator in entity.accumulators if not accumulator.frame]
    states = _named(_states(over_events, _Final(dialect), prefix, needed))
    query = f"SELECT {', '.join([keys, *states])}, max(ts) AS last_us FROM ({with_lasts}) GROUP BY {keys}"
    if not over_pairs:
        return query
    states = _named(_states(over_pairs, _Final(dialect), prefix, needed))
    pairs = f"SELECT {', '.join([keys, *states])} FROM {pair_values} GROUP BY {keys}"
    return f"SELECT * FROM ({query}) JOIN ({pairs}) USING ({keys})"


def hot_lasts_select(plan: Plan, entity: EntityName, source: str, max_rows: int) -> str:
    """Return the query of the last instants of the entities that have more events than ``max_rows``."""
    keys, lasts = PARTITIONS[entity], [f"{last} AS {name}" for name, last in _entity_lasts(plan).items()]
    return f"SELECT {keys}, {', '.join(lasts)} FROM {source} GROUP BY {keys} HAVING count(*) > {max_rows}"


def _entity_lasts(plan: Plan) -> dict[str, str]:
    """Return the last instant of an entity's events in each dataframe, by column."""
    return {f"{frame}_entity_last": f"max({frame}_t)" for frame in plan.frames.values()}


def running_select(
    entity: EntityPlan, source: str, span: Span, aggregates: Mapping[str, str] | None = None
) -> str:
    """Return the query of the state after each instant at which an entity had events, for DuckDB.

    Its columns are the ids, the fields, the ``aggregates`` over the events of the state by name, ``ts``, and
    ``is_last`` for the state after all events. ``source`` is a query of ``transitions_select``.
    """
    running, keys = _Inclusive(entity.name, span, DUCKDB), PARTITIONS[entity.name]
    more = [f"{running.over(sql)} AS {name}" for name, sql in (aggregates or {}).items()]
    if entity.latest_products is not None:
        spec = entity.latest_products.spec
        source = f"({source}) LEFT JOIN ({_lists_select(spec['frame'], spec['limit'], source)}) USING (user_id, ts)"
        source = f"SELECT * FROM {source}"
    return (
        f"SELECT {', '.join([keys, *_named(_states(entity.accumulators, running)), *more])}, ts,"
        f" row_number() OVER (PARTITION BY {keys} ORDER BY position DESC) = 1 AS is_last"
        f" FROM ({source}) WINDOW {running.window}"
        f" QUALIFY row_number() OVER (PARTITION BY {keys}, ts ORDER BY position DESC) = 1 ORDER BY {keys}, ts"
    )


def _lists_select(frame: str, limit: int, source: str) -> str:
    """Return the query of each user's list after each instant: an event counts until the pair's next one."""
    events = (
        f"SELECT user_id, product_id, {frame}_t,"
        f" lead({frame}_t) OVER (PARTITION BY {PARTITIONS['pair']} ORDER BY position) AS next_t"
        f" FROM ({source}) WHERE {frame}_t IS NOT NULL"
    )
    return (
        f"SELECT user_id, ts, {DUCKDB.packed_list(frame, limit, 'true')} AS {frame}_latest_{limit}"
        f" FROM (SELECT DISTINCT user_id, ts FROM ({source})) JOIN ({events}) USING (user_id)"
        f" WHERE {frame}_t <= ts AND (next_t IS NULL OR next_t > ts) GROUP BY user_id, ts"
    )


def _states(
    accumulators: Iterable[Accumulator],
    aggregation: _DialectAggregation,
    prefix: str = "",
    needed: AbstractSet[str] | None = None,
) -> dict[str, str]:
    return {
        f"{prefix}{field.name}": f"({sql})::{aggregation.dialect.types[field.kind]}"
        for accumulator in accumulators
        if needed is None or not needed.isdisjoint(field.name for field in accumulator.fields)
        for field, sql in zip(accumulator.fields, accumulator.sql(aggregation), strict=True)
        if needed is None or field.name in needed
    }


def _named(expressions: Mapping[str, str]) -> list[str]:
    return [f"{sql} AS {name}" for name, sql in expressions.items()]
