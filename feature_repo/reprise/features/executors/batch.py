"""The batch executor: the plan as SQL over a file of events, on DuckDB, which spills to disk."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reprise import sql
from reprise.events.event import ERASED_PREFIX, format_timestamp
from reprise.features.exceptions import NotEnoughEventsError
from reprise.features.executors import batch_sql
from reprise.features.feature_functions import FloatArray
from reprise.features.labels import Outcome, refunded_purchases
from reprise.features.plan import EntityName, EntityPlan, Plan
from reprise.features.vectorizer import FeatureVectorizer

REQUEST_COLUMNS = ("row_id", "user_id", "product_id", "timestamp_us", "amount", "is_purchase")
"""Columns of a table of requests; ``amount`` and ``is_purchase`` (1.0 or 0.0) are the request's own."""

POSITION_COLUMNS = ("topic_id", "partition", "offset")
"""Columns of an event's position in the log: the topic's id as UUID text, the partition, the offset."""

_FINAL_TABLES = ("lifted_events", "pair_values")
"""Tables of ``batch_sql.lifted_events_select`` and ``batch_sql.pair_values_select``."""

_BATCH_ROWS = 50_000


@dataclass(frozen=True)
class LogPositions:
    """The topic id of a file's last record, which is the newest incarnation, and its last offset per partition."""

    topic: UUID
    last_offsets: Mapping[int, int]


@dataclass(frozen=True)
class EventsSummary:
    """Number of loaded events, the instant of the last, and a hash of their content in any order."""

    count: int
    last_us: int
    content: int


class BatchExecutor(AbstractContextManager["BatchExecutor"]):
    """Computes states and model inputs from a file of events; a context manager.

    ``memory_limit`` is what DuckDB may use before it spills to disk, such as ``4GiB``, and ``temp_directory`` where it
    spills to, the system's by default.
    """

    def __init__(self, plan: Plan, *, memory_limit: str = "4GiB", temp_directory: Path | None = None) -> None:
        self._plan = plan
        self._views = [entity.projection.view for entity in plan.entities]
        self._vectorizer = FeatureVectorizer(plan, self._views)
        self._positions: LogPositions | None = None
        self._has_final_tables = False
        self._spill = TemporaryDirectory(prefix="reprise-batch-", dir=temp_directory)
        self._connection = sql.connect(memory_limit=memory_limit, temp_directory=Path(self._spill.name))

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._spill.cleanup()

    def load_events(
        self, source: Path | pa.Table, refund_us: int = 0, *, before_us: int | None = None
    ) -> int:
        """Load canonical events, the first of each ``event_id``; return how many are of the plan's event types.

        Purchases that are returned within ``refund_us`` are marked; see ``labels.refunded_purchases``. Events at
        ``before_us`` and later are left out.

        Raises:
            NotEnoughEventsError: There are none.
        """
        if isinstance(source, Path):
            rows = sql.numbered_rows(source)
        else:
            self._connection.register("given_events", source)
            rows = "(SELECT *, row_number() OVER () AS file_row_number FROM given_events)"
        types = ", ".join(sql.literal(event_type) for event_type in self._plan.frames)
        known = f"(SELECT * FROM {rows} WHERE event_type IN ({types}))"
        past = "true" if before_us is None else f"epoch_us(timestamp) < {before_us}"
        self._run(
            f"""
            CREATE OR REPLACE TEMP TABLE events AS
            SELECT event_id, user_id, product_id, event_type, epoch_us(timestamp) AS ts, amount,
                   {sql.event_key()} AS event_key
            FROM {sql.first_of_each_id(known)} WHERE {past}
            """
        )
        self._has_final_tables = False
        [(count,)] = self._run("SELECT count(*) FROM events")
        if count == 0:
            when = "" if before_us is None else f" before {format_timestamp(before_us)}"
            raise NotEnoughEventsError(f"no event{when} is of a type that makes features: {types}")
        refunded = "SELECT ''::VARCHAR AS event_id WHERE false"
        if refund_us:
            distinct = f"(SELECT *, epoch_us(timestamp) AS ts FROM {sql.first_of_each_id(rows)})"
            refunded = refunded_purchases(distinct, Outcome(self._plan.purchase_type, refund_us))
        self._run(f"CREATE OR REPLACE TEMP TABLE refunded AS {refunded}")
        return int(count)

    def events(self) -> pa.Table:
        """Return the loaded events in order of time, with ``timestamp_us`` and ``event_key``."""
        return self._stream(
            "SELECT * RENAME (ts AS timestamp_us) FROM events ORDER BY ts, event_key"
        ).read_all()

    def event_rows(
        self, columns: Sequence[str], extra: Mapping[str, str] | None = None, *, requests: str | None = None
    ) -> pa.RecordBatchReader:
        """Return one row per event: ``columns``, the ``extra`` expressions by name, and the states before it.

        Expressions may use the columns of ``batch_sql.transitions_select``, ``refunded``, and the table ``events``.
        ``requests`` is a query of further rows, such as ``sampled_questions``; with it there is the column ``asked``.
        """
        source = (
            "SELECT *, event_id IN (SELECT event_id FROM refunded) AS refunded"
            f" FROM ({self._events(is_row=True)})"
        )
        if requests is not None:
            source = (
                f"SELECT *, 'before' AS asked FROM ({source}) UNION ALL BY NAME"
                f" SELECT *, false AS is_event, true AS is_row FROM ({requests})"
            )
        return self._past(source, columns, extra)

    def request_rows(self, requests: pa.Table) -> pa.RecordBatchReader:
        """Return the ``row_id`` and the states strictly before the instant of each request (``REQUEST_COLUMNS``)."""
        self._connection.register("requests", requests)
        request_events = (
            "SELECT row_id, NULL, user_id, product_id, NULL, timestamp_us, amount, NULL, false, true, is_purchase"
            " FROM requests"
        )
        source = f"{self._events(is_row=False)} UNION ALL {request_events}"
        return self._past(source, ["row_id", "ts", "amount", "is_purchase"], None)

    def with_inputs(self, rows: Iterable[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, FloatArray]]:
        """Yield each batch, which must have ts, amount and is_purchase, with its model inputs, shape (rows, inputs)."""
        for batch in rows:
            states = []
            for entity, view in zip(self._plan.entities, self._views, strict=True):
                columns = [_floats(batch, f"{entity.name}__{field.name}") for field in view.fields]
                states.append(np.reshape(columns, (len(columns), batch.num_rows)).T)
            request = (_floats(batch, name) for name in ("ts", "amount", "is_purchase"))
            yield batch, self._vectorizer.matrix(*states, *request)

    def final_states(self, entity: EntityName) -> pa.RecordBatchReader:
        """Return every entity's state after all events: its ids, the state's fields, and ``last_us``."""
        entity_plan = next(e for e in self._plan.entities if e.name == entity)
        self._load_final_tables()
        return self._stream(batch_sql.final_select(self._plan, entity_plan, *_FINAL_TABLES))

    def summary(self) -> EventsSummary:
        """Return what is loaded."""
        columns = "event_id, user_id, product_id, event_type, ts, amount"
        [found] = self._run(f"SELECT count(*), max(ts), bit_xor(hash({columns})) FROM events")
        return EventsSummary(*found)

    def load_pairs(self, part_rows: int) -> list[int]:
        """Compute the states of all pairs with a purchase, for ``pair_rows``; return the number of pairs by part.

        A part is all pairs of some users, chosen by a hash of their ids: about ``part_rows`` pairs. Erased users are
        left out.
        """
        self._run(
            f"""
            CREATE OR REPLACE TEMP TABLE bought AS
            SELECT user_id, product_id, count(*) AS purchases, avg(amount) AS mean_amount,
                   make_timestamptz(max(ts)) AS last_purchase
            FROM events
            WHERE event_type = {sql.literal(self._plan.purchase_type)}
                AND NOT starts_with(user_id, {sql.literal(ERASED_PREFIX)})
            GROUP BY user_id, product_id
            """
        )
        [(pairs,)] = self._run("SELECT count(*) FROM bought")
        parts = -(-pairs // part_rows) or 1
        self._run(
            f"CREATE OR REPLACE TEMP TABLE parts AS SELECT user_id, {sql.event_key('user_id')} % {parts} AS part"
            " FROM (SELECT DISTINCT user_id FROM bought)"
        )
        self._load_final_tables()
        events, pair_values = _FINAL_TABLES
        sources = {
            "user": f"(SELECT * FROM {events} SEMI JOIN parts USING (user_id))",
            "product": events,
            "pair": f"(SELECT * FROM {events} SEMI JOIN bought USING (user_id, product_id))",
        }
        joins = {
            "user": "JOIN parts USING (user_id) ORDER BY part",
            "product": "",
            "pair": "JOIN bought USING (user_id, product_id) JOIN parts USING (user_id) ORDER BY part",
        }
        for entity, view in zip(self._plan.entities, self._views, strict=True):
            needed = {field.name for field in view.fields}
            states = batch_sql.final_select(
                self._plan, entity, sources[entity.name], pair_values, f"{entity.name}__", needed
            )
            self._run(
                f"CREATE OR REPLACE TEMP TABLE {entity.name}_states AS"
                f" SELECT * EXCLUDE (last_us) FROM ({states}) {joins[entity.name]}"
            )
        counts = dict(self._run("SELECT part, count(*) FROM pair_states GROUP BY part"))
        return [counts.get(part, 0) for part in range(parts)]

    def pair_rows(self, part: int, instant_us: int) -> pa.RecordBatchReader:
        """Return the idle requests of a part of ``load_pairs``, in order: an instant after all events, and the states.

        With the number of ``purchases``, their ``mean_amount``, and ``last_purchase``.
        """
        return self._stream(
            f"""
            SELECT *, {instant_us}::BIGINT AS ts, NULL::DOUBLE AS amount, NULL::DOUBLE AS is_purchase
            FROM pair_states JOIN user_states USING (part, user_id) JOIN product_states USING (product_id)
            WHERE part = {part} ORDER BY user_id, product_id
            """
        )

    def load_positions(self, source: Path) -> LogPositions | None:
        """Load the log position of each event from the file of the events, in the order of arrival.

        Returns None if the file lacks ``POSITION_COLUMNS``, or its last event a position.
        """
        self._positions = None
        if not set(POSITION_COLUMNS) <= set(pq.read_schema(source).names):
            return None
        rows = sql.numbered_rows(source)
        self._run(
            f"""
            CREATE OR REPLACE TEMP TABLE positions AS
            SELECT event_id, topic_id, "partition" AS log_partition, "offset" AS log_offset
            FROM {sql.first_of_each_id(rows)}
            """
        )
        [(topic,)] = self._run(f"SELECT arg_max(topic_id, file_row_number) FROM {rows}")
        if topic is None:
            return None
        lasts = self._run(
            f'SELECT "partition", max("offset") FROM {rows} WHERE topic_id = ? GROUP BY 1 ORDER BY 1', [topic]
        )
        self._positions = LogPositions(UUID(topic), {int(partition): int(last) for partition, last in lasts})
        return self._positions

    def running_states(self, entity: EntityPlan) -> pa.RecordBatchReader:
        """Return an entity's state after each instant at which it had events.

        Columns are its ids, the fields, ``ts``, and ``is_last``: whether it is the entity's state after all events.
        If positions are loaded, ``offset_<partition>`` is the last offset in the state, or null.
        """
        source, offsets = self._events(is_row=True), {}
        if self._positions is not None:
            source = f"SELECT * FROM ({source}) LEFT JOIN positions USING (event_id)"
            of_topic = f"topic_id = {sql.literal(str(self._positions.topic))}"
            offsets = {
                f"offset_{number}": f"max(CASE WHEN {of_topic} AND log_partition = {number} THEN log_offset END)"
                for number in self._positions.last_offsets
            }
        transitions = self._lift(source)
        return self._stream(batch_sql.running_select(entity, transitions, self._span(), offsets))

    def entity_ids(self, entity: EntityPlan) -> pa.RecordBatchReader:
        """Return the ids of every entity that has an event, in order."""
        keys = ", ".join(entity.view.join_keys)
        return self._stream(f"SELECT DISTINCT {keys} FROM events ORDER BY {keys}")

    def _past(
        self, source: str, columns: Sequence[str], extra: Mapping[str, str] | None
    ) -> pa.RecordBatchReader:
        transitions = self._lift(source)
        return self._stream(batch_sql.past_select(self._plan, transitions, self._span(), columns, extra))

    def _events(self, *, is_row: bool) -> str:
        return (
            f"SELECT NULL::BIGINT AS row_id, *, true AS is_event, {str(is_row).lower()} AS is_row,"
            f" (event_type = {sql.literal(self._plan.purchase_type)})::DOUBLE AS is_purchase FROM events"
        )

    def _lift(self, source: str) -> str:
        lifted = batch_sql.lifted_select(self._plan, f"({source})")
        self._run(f"CREATE OR REPLACE TEMP TABLE lifted AS {lifted}")
        return batch_sql.transitions_select(self._plan, "lifted")

    def _load_final_tables(self) -> None:
        """Compute the ``_FINAL_TABLES``, once for the loaded events."""
        if self._has_final_tables:
            return
        events, pairs = _FINAL_TABLES
        self._run(
            f"CREATE OR REPLACE TEMP TABLE {events} AS {batch_sql.lifted_events_select(self._plan, 'events')}"
        )
        values = batch_sql.pair_values_select(self._plan, events)
        self._run(f"CREATE OR REPLACE TEMP TABLE {pairs} AS {values}")
        self._has_final_tables = True

    def _span(self) -> batch_sql.Span:
        [(first, last)] = self._run("SELECT min(ts), max(ts) FROM lifted")
        return batch_sql.Span(int(first), int(last))

    def _stream(self, query: str) -> pa.RecordBatchReader:
        return self._connection.sql(query).to_arrow_reader(_BATCH_ROWS)

    def _run(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and fetch its rows, without which the connection cannot run another."""
        rows: list[tuple[Any, ...]] = self._connection.execute(statement, list(parameters)).fetchall()
        return rows


def _floats(batch: pa.RecordBatch, column: str) -> FloatArray:
    values: FloatArray = batch.column(column).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values
