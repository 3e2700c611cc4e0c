"""The batch executor: the plan as SQL over a file of events, on DuckDB, with tables on disk."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ByteSize, TypeAdapter

from reprise import sql
from reprise.features.executors import batch_sql
from reprise.features.executors.plan_executor import BATCH_ROWS, PlanExecutor
from reprise.features.plan import EntityName, EntityPlan, Plan
from reprise.features.sampled_requests import SAMPLING_TABLES
from reprise.features.sql_dialect import DUCKDB, ROW_ORDER

POSITION_COLUMNS = ("topic_id", "partition", "offset")
"""Columns of an event's position in the log: the topic's id as UUID text, the partition, the offset."""

_ROW_BYTES, _FIELD_BYTES = 500, 16
"""Memory that windows take for a row, and for each field of its states; measured with ids of 12 characters."""


@dataclass(frozen=True)
class LogPositions:
    """The topic id of a file's last record, which is the newest incarnation, and its last offset per partition."""

    topic: UUID
    last_offsets: Mapping[int, int]


class BatchExecutor(PlanExecutor):
    """Computes states and model inputs on DuckDB; a context manager.

    Args:
        plan: The plan.
        memory_limit: What DuckDB may use before it spills to disk, such as ``4GiB``.
        temp_directory: Folder of its tables and of what it spills; the system's by default.
        part_rows: Maximum rows whose states are computed by one query; more are computed in parts of about this size.
            By default what fits into half of the memory limit.
    """

    dialect = DUCKDB
    name = "duckdb"

    def __init__(
        self,
        plan: Plan,
        *,
        memory_limit: str = "4GiB",
        temp_directory: Path | None = None,
        part_rows: int | None = None,
    ) -> None:
        super().__init__(plan)
        self._positions: LogPositions | None = None
        self._tables: set[str] = set()
        self._folder = TemporaryDirectory(prefix="reprise-batch-", dir=temp_directory)
        # Columns are compressed in a file of tables, and in nothing that is spilled
        self._connection = sql.connect(
            self._file("tables"), memory_limit=memory_limit, temp_directory=Path(self._folder.name)
        )
        self._part_rows = part_rows or self._default_part_rows()

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._folder.cleanup()

    def _file(self, database: str) -> Path:
        return Path(self._folder.name, f"{database}.duckdb")

    def _default_part_rows(self) -> int:
        [(limit,)] = self._run("SELECT current_setting('memory_limit')")  # Such as "3.7 GiB"
        row_bytes = _ROW_BYTES + _FIELD_BYTES * sum(len(view.fields) for view in self._views)
        return TypeAdapter(ByteSize).validate_python(limit) // (2 * row_bytes) or 1

    def load_positions(self, source: Path) -> LogPositions | None:
        """Load the log position of each event from the file of the events, in the order of arrival.

        Returns None if the file lacks ``POSITION_COLUMNS``, or its last event a position.
        """
        self._positions = None
        if not set(POSITION_COLUMNS) <= set(pq.read_schema(source).names):
            return None
        rows = sql.numbered_rows(source)
        self._create(
            "positions",
            f"""
            SELECT event_id, topic_id, "partition" AS log_partition, "offset" AS log_offset
            FROM {sql.first_of_each_id(rows)}
            """,
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
        _, span = self._order(source)
        return self._stream(batch_sql.running_select(entity, self._transitions(()), span, offsets))

    def entity_ids(self, entity: EntityPlan) -> pa.RecordBatchReader:
        """Return the ids of every entity that has an event, in order."""
        keys = ", ".join(entity.view.join_keys)
        return self._stream(f"SELECT DISTINCT {keys} FROM events ORDER BY {keys}")

    def _past(
        self, source: str, columns: Sequence[str], extra: Mapping[str, str] | None
    ) -> pa.RecordBatchReader:
        count, span = self._order(source)
        pasts: dict[EntityName, batch_sql.Past] = {
            entity.name: batch_sql.Past(entity.name, span, self.dialect) for entity in self._plan.entities
        }
        parts = -(-count // self._part_rows)
        if parts > 1:
            return self._past_in_parts(parts, pasts, columns, extra or {})
        expressions = {**(extra or {}), **batch_sql.past_states(self._plan, pasts)}
        return self._stream(
            batch_sql.past_select(f"({self._transitions(pasts)})", pasts, columns, expressions)
        )

    def _past_in_parts(
        self,
        parts: int,
        pasts: Mapping[EntityName, batch_sql.Past],
        columns: Sequence[str],
        extra: Mapping[str, str],
    ) -> pa.RecordBatchReader:
        """Return what ``_past`` does, with the rows of one part in memory.

        A window holds all of its rows. So the windows by user and by pair are computed for one part of the users after
        the other, and then those by product for one part of the products.
        """
        by_product: dict[EntityName, batch_sql.Past] = {"product": pasts["product"]}
        by_user = {name: past for name, past in pasts.items() if name not in by_product}
        user_expressions = {**extra, **batch_sql.past_states(self._plan, by_user)}
        product_states = batch_sql.past_states(self._plan, by_product)
        names = ", ".join(["position", *columns, *user_expressions, *product_states])
        peer = self.dialect.peers["product"]

        def users_query(condition: str) -> str:
            rows = f"({self._transitions(by_user, condition)})"
            return batch_sql.with_past_select(rows, by_user, user_expressions)

        def products_query(condition: str) -> str:
            rows = f"(SELECT *, {peer} FROM scratch.users_past WHERE {condition})"
            return f"SELECT {names} FROM ({batch_sql.with_past_select(rows, by_product, product_states)}) WHERE is_row"

        self._run(f"ATTACH {sql.literal(self._file('scratch'))} AS scratch")
        self._create_in_parts("scratch.users_past", "user_id", parts, users_query)
        self._drop("ordered")
        self._create_in_parts("past", "product_id", parts, products_query)
        self._drop("scratch.users_past")
        self._run("DETACH scratch")
        self._file("scratch").unlink()
        return self._stream("SELECT * EXCLUDE (position) FROM past ORDER BY position")

    def _order(self, source: str) -> tuple[int, batch_sql.Span]:
        """Create the table ``ordered``; return its number of rows and their span."""
        self._create("ordered", f"SELECT * FROM ({source}) ORDER BY {ROW_ORDER}")
        for table in SAMPLING_TABLES:
            self._drop(table)
        [(count, first_us, last_us)] = self._run("SELECT count(*), min(ts), max(ts) FROM ordered")
        return count, batch_sql.Span(first_us, last_us)

    def _transitions(self, pasts: Iterable[EntityName], condition: str = "true") -> str:
        """Return ``batch_sql.transitions_select`` of the table ``ordered``, for the windows of ``pasts``."""
        lifted = batch_sql.lifted_select(self._plan, f"ordered WHERE {condition}", self.dialect, pasts)
        return batch_sql.transitions_select(self._plan, f"({lifted})", self.dialect)

    def _create_in_parts(self, table: str, key: str, parts: int, query: Callable[[str], str]) -> None:
        """Create a table with one INSERT for each part; the query takes the condition that selects a part's rows."""
        conditions = [f"hash({key}) % {parts} = {part}" for part in range(parts)]
        self._create(table, query(conditions[0]))
        for condition in conditions[1:]:
            self._run(f"INSERT INTO {table} {query(condition)}")

    def _numbered_rows(self, source: Path | pa.Table) -> str:
        if isinstance(source, Path):
            return sql.numbered_rows(source)
        self._connection.register("given_rows", source)
        return "(SELECT *, row_number() OVER () AS file_row_number FROM given_rows)"

    def _create(self, table: str, query: str) -> None:
        self._drop(table)
        self._run(f"CREATE TABLE {table} AS {query}")
        self._tables.add(table)

    def _drop(self, table: str) -> None:
        if table in self._tables:
            self._tables.remove(table)
            self._run(f"DROP TABLE {table}")
            self._run("CHECKPOINT")  # Without which its blocks stay in use

    def _stream(self, query: str) -> pa.RecordBatchReader:
        return self._connection.sql(query).to_arrow_reader(BATCH_ROWS)

    def _run(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and fetch its rows, without which the connection cannot run another."""
        rows: list[tuple[Any, ...]] = self._connection.execute(statement, list(parameters)).fetchall()
        return rows
