"""What the executors of the plan's SQL share: events and requests in, states and model inputs out."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from reprise import sql
from reprise.events.event import ERASED_PREFIX, format_timestamp
from reprise.features.exceptions import NotEnoughEventsError
from reprise.features.executors import batch_sql
from reprise.features.feature_functions import FloatArray
from reprise.features.labels import Outcome, refunded_purchases
from reprise.features.plan import EntityName, EntityPlan, Plan
from reprise.features.sampled_requests import (
    EarlierDays,
    expected_idle,
    known_pairs,
    sampled_requests,
    sampling_tables,
)
from reprise.features.sql_dialect import SqlDialect
from reprise.features.vectorizer import FeatureVectorizer
from reprise.runtime.executor_settings import ExecutorName

REQUEST_COLUMNS = ("row_id", "user_id", "product_id", "timestamp_us", "amount", "is_purchase")
"""Columns of a table of requests; ``amount`` and ``is_purchase`` (1.0 or 0.0) are the request's own."""

FINAL_TABLES = ("lifted_events", "pair_values")
"""Tables of ``batch_sql.lifted_events_select`` and ``batch_sql.pair_values_select``."""

ARROW_TYPES = {"int64": pa.int64(), "double": pa.float64(), "bytes": pa.binary()}
"""Arrow's type of each kind of a state's field."""

BATCH_ROWS = 50_000
"""Rows in one Arrow batch of results."""


@dataclass(frozen=True)
class EventsSummary:
    """Number of loaded events, the instant of the last, and the engine's hash of their content in any order."""

    count: int
    last_us: int
    content: int


class PlanExecutor(AbstractContextManager["PlanExecutor"]):
    """Computes states and model inputs from a file of events by SQL; a context manager."""

    dialect: ClassVar[SqlDialect]
    name: ClassVar[ExecutorName]

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._views = [entity.projection.view for entity in plan.entities]
        self._vectorizer = FeatureVectorizer(plan, self._views)
        self._has_final_tables = False

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def _numbered_rows(self, source: Path | pa.Table) -> str:
        """Return SQL of the rows of a Parquet file or a table, with their ``file_row_number``."""

    @abstractmethod
    def _create(self, table: str, query: str) -> None:
        """Compute a table, in place of an earlier one of its name."""

    @abstractmethod
    def _run(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""

    @abstractmethod
    def _past(
        self, source: str, columns: Sequence[str], extra: Mapping[str, str] | None
    ) -> pa.RecordBatchReader:
        """Return ``columns``, ``extra`` and the states before each row of a query of ``batch_sql.ROW_COLUMNS``."""

    @abstractmethod
    def _stream(self, query: str) -> pa.RecordBatchReader:
        """Return the rows of a query, in its order."""

    def load_events(
        self, source: Path | pa.Table, refund_us: int = 0, *, before_us: int | None = None
    ) -> int:
        """Load canonical events, the first of each ``event_id``; return how many are of the plan's event types.

        Purchases that are returned within ``refund_us`` are marked; see ``labels.refunded_purchases``. Events at
        ``before_us`` and later are left out.

        Raises:
            NotEnoughEventsError: There are none.
        """
        rows, instant = self._numbered_rows(source), self.dialect.microseconds("timestamp")
        types = ", ".join(sql.literal(event_type) for event_type in self._plan.frames)
        known = f"(SELECT * FROM {rows} WHERE event_type IN ({types}))"
        past = "true" if before_us is None else f"{instant} < {before_us}"
        self._create(
            "events",
            f"""
            SELECT event_id, user_id, product_id, event_type, {instant} AS ts, amount,
                   {self.dialect.event_key("event_id")} AS event_key
            FROM {self.dialect.first_of_each_id(known)} WHERE {past}
            """,
        )
        self._has_final_tables = False
        [(count,)] = self._run("SELECT count(*) FROM events")
        if count == 0:
            when = "" if before_us is None else f" before {format_timestamp(before_us)}"
            raise NotEnoughEventsError(f"no event{when} is of a type that makes features: {types}")
        refunded = "SELECT '' AS event_id WHERE false"
        if refund_us:
            distinct = f"(SELECT *, {instant} AS ts FROM {self.dialect.first_of_each_id(rows)})"
            refunded = refunded_purchases(distinct, Outcome(self._plan.purchase_type, refund_us))
        self._create("refunded", refunded)
        return int(count)

    def events(self) -> pa.Table:
        """Return the loaded events in order of time, with ``timestamp_us`` and ``event_key``."""
        return self._stream(
            "SELECT event_id, user_id, product_id, event_type, ts AS timestamp_us, amount, event_key"
            " FROM events ORDER BY ts, event_key"
        ).read_all()

    def summary(self) -> EventsSummary:
        """Return what is loaded."""
        content = self.dialect.hash("event_id, user_id, product_id, event_type, ts, amount")
        [found] = self._run(f"SELECT count(*), max(ts), bit_xor({content}) FROM events")
        return EventsSummary(*found)

    def event_rows(
        self,
        columns: Sequence[str],
        extra: Mapping[str, str] | None = None,
        *,
        questions_us: int | None = None,
    ) -> pa.RecordBatchReader:
        """Return one row per event: ``columns``, the ``extra`` expressions by name, and the states before it.

        Expressions may use the columns of ``batch_sql.transitions_select``, ``refunded``, the table ``events``, and
        windows that are partitioned by user.
        With ``questions_us`` there are the rows of ``sampled_requests`` too, whose labels are known after that time,
        and the column ``asked``.
        """
        source = (
            "SELECT *, event_id IN (SELECT event_id FROM refunded) AS refunded"
            f" FROM ({self._events(is_row=True)})"
        )
        if questions_us is not None:
            names = ", ".join(batch_sql.ROW_COLUMNS)
            questions = self._sampled_requests(questions_us)
            source = (
                f"SELECT {names}, refunded, 'before' AS asked FROM ({source}) UNION ALL"
                f" SELECT {names}, NULL, asked FROM ({questions})"
            )
        return self._past(source, columns, extra)

    def request_rows(self, requests: pa.Table) -> pa.RecordBatchReader:
        """Return the ``row_id`` and the states strictly before the instant of each request (``REQUEST_COLUMNS``)."""
        request_events = (
            "SELECT row_id, NULL, user_id, product_id, NULL, timestamp_us, amount, NULL, false, true,"
            f" is_purchase::DOUBLE FROM {self._numbered_rows(requests.select(REQUEST_COLUMNS))}"
        )
        source = f"{self._events(is_row=False)} UNION ALL {request_events}"
        return self._past(source, ["row_id", "ts", "amount", "is_purchase"], None)

    def with_inputs(self, rows: Iterable[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, FloatArray]]:
        """Yield each batch, which must have ts, amount and is_purchase, with its model inputs, shape (rows, inputs)."""
        for batch in rows:
            states = (
                [_floats(batch, f"{entity.name}__{field.name}") for field in view.fields]
                for entity, view in zip(self._plan.entities, self._views, strict=True)
            )
            yield batch, self._inputs(batch, states)

    def final_states(self, entity: EntityName) -> pa.RecordBatchReader:
        """Return every entity's state after all events: its ids, the state's fields, and ``last_us``."""
        entity_plan = next(e for e in self._plan.entities if e.name == entity)
        self._load_final_tables()
        return self._stream(self._final_select(entity_plan))

    def known_pairs(self) -> pa.RecordBatchReader:
        """Return the rows of ``sampled_requests.known_pairs``."""
        return self._stream(known_pairs(self._plan.purchase_type))

    def expected_idle(self) -> dict[bool, int]:
        """Return the sums of ``sampled_requests.expected_idle`` until the end of the last event's day."""
        self._create_sampling_tables(0)
        return {bool(repeat): int(expected) for repeat, expected in self._run(expected_idle())}

    def load_pairs(self, part_rows: int) -> list[int]:
        """Compute the states of all pairs with a purchase, for ``pair_rows``; return the number of pairs by part.

        A part is all pairs of some users, chosen by a hash of their ids: about ``part_rows`` pairs. Erased users are
        left out.
        """
        self._create(
            "bought",
            f"""
            SELECT user_id, product_id, count(*) AS purchases, avg(amount) AS mean_amount, max(ts) AS last_purchase_us
            FROM events
            WHERE event_type = {sql.literal(self._plan.purchase_type)}
                AND user_id NOT LIKE {sql.literal(f"{ERASED_PREFIX}%")}
            GROUP BY user_id, product_id
            """,
        )
        [(pairs,)] = self._run("SELECT count(*) FROM bought")
        parts = -(-pairs // part_rows) or 1
        self._create(
            "parts",
            f"SELECT user_id, {self.dialect.event_key('user_id')} % {parts} AS part"
            " FROM (SELECT DISTINCT user_id FROM bought)",
        )
        self._load_final_tables()
        events, of_user = FINAL_TABLES[0], "JOIN parts USING (user_id)"
        of_pair = "JOIN bought USING (user_id, product_id)"
        parts_of = {
            "user": (
                f"(SELECT * FROM {events} SEMI {of_user})",
                f"{of_user} ORDER BY part, user_id",
                ["part"],
            ),
            "product": (events, "", []),
            "pair": (
                f"(SELECT * FROM {events} SEMI {of_pair})",
                f"{of_pair} {of_user} ORDER BY part, user_id",
                ["part", "purchases", "mean_amount", "last_purchase_us"],
            ),
        }
        for entity, view in zip(self._plan.entities, self._views, strict=True):
            source, joins, further = parts_of[entity.name]
            prefix, names = f"{entity.name}__", [field.name for field in view.fields]
            states = self._final_select(entity, source, prefix, set(names))
            columns = ", ".join([*entity.view.join_keys, *(f"{prefix}{name}" for name in names), *further])
            self._create(f"{entity.name}_states", f"SELECT {columns} FROM ({states}) {joins}")
        counts = dict(self._run("SELECT part, count(*) FROM pair_states GROUP BY part"))
        return [counts.get(part, 0) for part in range(parts)]

    def pair_rows(self, part: int, instant_us: int) -> pa.RecordBatchReader:
        """Return the idle requests of a part of ``load_pairs``, in order: an instant after all events, and the states.

        With the number of ``purchases``, their ``mean_amount``, and the instant of the last, ``last_purchase_us``.
        """
        return self._stream(
            f"""
            SELECT *, {instant_us}::BIGINT AS ts, NULL::DOUBLE AS amount, NULL::DOUBLE AS is_purchase
            FROM pair_states JOIN user_states USING (part, user_id) JOIN product_states USING (product_id)
            WHERE part = {part} ORDER BY user_id, product_id
            """
        )

    def _final_select(
        self,
        entity: EntityPlan,
        source: str = FINAL_TABLES[0],
        prefix: str = "",
        needed: AbstractSet[str] | None = None,
    ) -> str:
        """Return ``batch_sql.final_select`` of the ``FINAL_TABLES``, or of those events that ``source`` selects."""
        return batch_sql.final_select(
            self._plan, entity, source, FINAL_TABLES[1], self.dialect, prefix, needed, self._hot_lasts(entity)
        )

    def _hot_lasts(self, entity: EntityPlan) -> str | None:  # noqa: ARG002 - DuckDB has no hot entities
        """Return a table of ``batch_sql.hot_lasts_select``, if the engine needs it."""
        return None

    def _inputs(self, batch: pa.RecordBatch, states: Iterable[Sequence[ArrayLike]]) -> FloatArray:
        """Return the model inputs of a batch and of the columns of each entity's state."""
        matrices = (
            np.array(columns, dtype=np.float64).reshape(len(columns), batch.num_rows).T for columns in states
        )
        request = (_floats(batch, name) for name in ("ts", "amount", "is_purchase"))
        return self._vectorizer.matrix(*matrices, *request)

    def _events(self, *, is_row: bool) -> str:
        is_purchase = f"(event_type = {sql.literal(self._plan.purchase_type)})::DOUBLE"
        return (
            f"SELECT NULL::BIGINT AS row_id, *, true AS is_event, {str(is_row).lower()} AS is_row,"
            f" {is_purchase} AS is_purchase FROM events"
        )

    def _sampled_requests(self, horizon_us: int, earlier: EarlierDays | None = None) -> str:
        """Create the tables of the ``sampled_requests``, and return their query."""
        self._create_sampling_tables(horizon_us, earlier)
        return sampled_requests(horizon_us, self._plan.purchase_type, self.dialect, earlier)

    def _create_sampling_tables(self, horizon_us: int, earlier: EarlierDays | None = None) -> None:
        tables = sampling_tables(horizon_us, self._plan.purchase_type, self.dialect, earlier)
        for name, query in tables.items():
            self._create(name, query)

    def _load_final_tables(self) -> None:
        """Compute the ``FINAL_TABLES``, once for the loaded events."""
        if self._has_final_tables:
            return
        events, pairs = FINAL_TABLES
        self._create(events, batch_sql.lifted_events_select(self._plan, "events", self.dialect))
        self._create(pairs, batch_sql.pair_values_select(self._plan, events, self.dialect))
        self._has_final_tables = True


def _floats(batch: pa.RecordBatch, column: str) -> FloatArray:
    values: FloatArray = batch.column(column).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values
