"""The batch executor: the plan as SQL over a file of events, on DuckDB, which spills to disk."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reprise import sql
from reprise.features.exceptions import NotEnoughEventsError
from reprise.features.executors import batch_sql
from reprise.features.feature_functions import FloatArray
from reprise.features.feature_vector.vectorizer import FeatureVectorizer
from reprise.features.plan import EntityName, EntityPlan, Plan

REQUEST_COLUMNS = ("row_id", "user_id", "product_id", "timestamp_us", "amount", "is_purchase")
"""Columns of a table of requests; ``amount`` and ``is_purchase`` (1.0 or 0.0) are the request's own."""

POSITION_COLUMNS = ("topic_id", "partition", "offset")
"""Columns of an event's position in the log: the topic's id as UUID text, the partition, the offset."""

_BATCH_ROWS = 50_000


@dataclass(frozen=True)
class LogPositions:
    """The topic id of a file's last record, which is the newest incarnation, and its last offset per partition."""

    topic: UUID
    last_offsets: Mapping[int, int]


class BatchExecutor(AbstractContextManager["BatchExecutor"]):
    """Computes states and model inputs from a file of events; a context manager.

    Args:
        plan: The plan.
        memory_limit: Memory that DuckDB may use before it spills to disk, such as ``4GiB``.
        temp_directory: Where it spills to; the system's by default.
        threads: One per core by default.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        memory_limit: str = "4GiB",
        temp_directory: Path | None = None,
        threads: int | None = None,
    ) -> None:
        self._plan = plan
        self._vectorizer = FeatureVectorizer(plan)
        self._positions: LogPositions | None = None
        self._spill = TemporaryDirectory(prefix="reprise-batch-", dir=temp_directory)
        self._connection = sql.connect(
            memory_limit=memory_limit, temp_directory=Path(self._spill.name), threads=threads
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._spill.cleanup()

    def load_events(self, source: Path | pa.Table) -> int:
        """Load canonical events, the first of each ``event_id``; return how many are of the plan's event types.

        Raises:
            NotEnoughEventsError: There are none.
        """
        if isinstance(source, Path):
            rows = f"read_parquet({sql.literal(source)}, file_row_number = true)"
        else:
            self._connection.register("given_events", source)
            rows = "(SELECT *, row_number() OVER () AS file_row_number FROM given_events)"
        types = ", ".join(sql.literal(event_type) for event_type in self._plan.frames)
        self._run(
            f"""
            CREATE OR REPLACE TEMP TABLE events AS
            SELECT event_id, user_id, product_id, event_type, epoch_us(timestamp) AS ts, amount,
                   {sql.event_key()} AS event_key
            FROM {rows} WHERE event_type IN ({types})
            QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY file_row_number) = 1
            """
        )
        [(count,)] = self._run("SELECT count(*) FROM events")
        if count == 0:
            raise NotEnoughEventsError(f"no event is of a type that makes features: {types}")
        return int(count)

    def events(self) -> pa.Table:
        """Return the loaded events in order of time, with ``timestamp_us`` and ``event_key``."""
        return self._connection.sql(
            "SELECT event_id, user_id, product_id, event_type, ts AS timestamp_us, amount, event_key"
            " FROM events ORDER BY ts, event_key"
        ).to_arrow_table()

    @property
    def span(self) -> batch_sql.Span:
        """The instants of the first and the last loaded event."""
        return self._span("SELECT min(ts), max(ts) FROM events")

    def event_rows(
        self, columns: Sequence[str], extra: Mapping[str, str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield one row per event: ``columns``, the ``extra`` expressions by name, and the states before it."""
        self._lift(_events(is_row=True))
        yield from self._past(self.span, columns, extra)

    def request_rows(self, requests: pa.Table) -> Iterator[pa.RecordBatch]:
        """Yield the ``row_id`` and the states strictly before the instant of each request (``REQUEST_COLUMNS``)."""
        self._connection.register("requests", requests)
        request_events = (
            "SELECT row_id, NULL, user_id, product_id, NULL, timestamp_us, amount, NULL, false, true, is_purchase"
            " FROM requests"
        )
        self._lift(f"{_events(is_row=False)} UNION ALL {request_events}")
        span = self.span
        requested = self._span("SELECT min(timestamp_us), max(timestamp_us) FROM requests")
        both = batch_sql.Span(min(span.first_us, requested.first_us), max(span.last_us, requested.last_us))
        yield from self._past(both, ["row_id", "ts", "amount", "is_purchase"], None)

    def with_inputs(self, rows: Iterator[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, FloatArray]]:
        """Yield each batch, which must have ts, amount and is_purchase, with its model inputs, shape (rows, inputs)."""
        for batch in rows:
            user, product, pair = (self._state_array(batch, entity) for entity in self._plan.entities)
            instants, amounts, purchases = (_floats(batch, name) for name in ("ts", "amount", "is_purchase"))
            inputs = self._vectorizer.matrix(user, product, pair, instants, amounts, purchases)
            yield batch, inputs

    def final_states(self, entity: EntityName) -> Iterator[pa.RecordBatch]:
        """Yield every entity's state after all events: its ids, the state's fields, and ``last_us``."""
        self._lift(_events(is_row=True))
        entity_plan = next(e for e in self._plan.entities if e.name == entity)
        yield from self._stream(batch_sql.final_select(self._plan, entity_plan, self._transitions()))

    def load_positions(self, source: Path) -> LogPositions | None:
        """Load the log position of each event from the file of the events, in the order of arrival.

        Returns None if the file lacks ``POSITION_COLUMNS``, or its last event a position.
        """
        self._positions = None
        if not set(POSITION_COLUMNS) <= set(pq.read_schema(source).names):
            return None
        rows = f"read_parquet({sql.literal(source)}, file_row_number = true)"
        self._run(
            f"""
            CREATE OR REPLACE TEMP TABLE positions AS
            SELECT event_id, topic_id, "partition" AS log_partition, "offset" AS log_offset
            FROM {rows} QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY file_row_number) = 1
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

    def running_states(self, entity: EntityPlan) -> Iterator[pa.RecordBatch]:
        """Yield an entity's state after each instant at which it had events.

        Columns are its ids, the fields, ``ts``, and ``is_last``: whether it is the entity's state after all events.
        If positions are loaded, ``offset_<partition>`` is the last offset in the state, or null.
        """
        source, offsets = _events(is_row=True), {}
        if self._positions is not None:
            source = f"SELECT * FROM ({source}) LEFT JOIN positions USING (event_id)"
            of_topic = f"topic_id = {sql.literal(str(self._positions.topic))}"
            offsets = {
                f"offset_{number}": f"max(CASE WHEN {of_topic} AND log_partition = {number} THEN log_offset END)"
                for number in self._positions.last_offsets
            }
        self._lift(source)
        yield from self._stream(batch_sql.running_select(entity, self._transitions(), self.span, offsets))

    def entity_ids(self, entity: EntityPlan) -> Iterator[pa.RecordBatch]:
        """Yield the ids of every entity that has an event, in order."""
        keys = ", ".join(entity.view.join_keys)
        yield from self._stream(f"SELECT DISTINCT {keys} FROM events ORDER BY {keys}")

    def _lift(self, source: str) -> None:
        self._run(
            f"CREATE OR REPLACE TEMP TABLE lifted AS {batch_sql.lifted_select(self._plan, f'({source})')}"
        )

    def _transitions(self) -> str:
        return batch_sql.transitions_select(self._plan, "lifted")

    def _past(
        self, span: batch_sql.Span, columns: Sequence[str], extra: Mapping[str, str] | None
    ) -> Iterator[pa.RecordBatch]:
        yield from self._stream(batch_sql.past_select(self._plan, self._transitions(), span, columns, extra))

    def _stream(self, query: str) -> Iterator[pa.RecordBatch]:
        yield from self._connection.sql(query).to_arrow_reader(_BATCH_ROWS)

    def _run(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and fetch its rows, without which the connection cannot run another."""
        rows: list[tuple[Any, ...]] = self._connection.execute(statement, list(parameters)).fetchall()
        return rows

    def _span(self, query: str) -> batch_sql.Span:
        [(first, last)] = self._run(query)
        return batch_sql.Span(int(first), int(last))

    def _state_array(self, batch: pa.RecordBatch, entity: EntityPlan) -> FloatArray:
        columns = [_floats(batch, f"{entity.name}__{field.name}") for field in entity.view.fields]
        return np.reshape(columns, (len(columns), batch.num_rows)).T


def _events(*, is_row: bool) -> str:
    return (
        f"SELECT NULL::BIGINT AS row_id, *, true AS is_event, {str(is_row).lower()} AS is_row,"
        " (event_type = 'purchase')::DOUBLE AS is_purchase FROM events"
    )


def _floats(batch: pa.RecordBatch, column: str) -> FloatArray:
    values: FloatArray = batch.column(column).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values
