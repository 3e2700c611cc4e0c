"""The batch executor: the plan as SQL over a file of events, on DuckDB, which spills to disk."""

from collections.abc import Callable, Mapping, Sequence
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
from reprise.features.plan import EntityPlan, Plan
from reprise.features.sql_dialect import DUCKDB

POSITION_COLUMNS = ("topic_id", "partition", "offset")
"""Columns of an event's position in the log: the topic's id as UUID text, the partition, the offset."""

_ROW_BYTES, _FIELD_BYTES = 500, 16
"""Memory of a row and of each field of its states, in the windows of a part; measured."""


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
        temp_directory: Where it spills to, and keeps the tables of a large history; the system's by default.
        part_rows: Events above which states before each row are computed in parts, and about the events of one part;
            by default what half of the memory holds. Sums over parts of another size may differ in their last bit.
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
        self._parts = 1
        self._spill = TemporaryDirectory(prefix="reprise-batch-", dir=temp_directory)
        self._connection = sql.connect(memory_limit=memory_limit, temp_directory=Path(self._spill.name))
        self._part_rows = part_rows or self._default_part_rows()

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._spill.cleanup()

    def _default_part_rows(self) -> int:
        [(limit,)] = self._run("SELECT current_setting('memory_limit')")  # Such as "3.7 GiB"
        row_bytes = _ROW_BYTES + _FIELD_BYTES * sum(len(view.fields) for view in self._views)
        return TypeAdapter(ByteSize).validate_python(limit) // (2 * row_bytes) or 1

    def load_events(
        self, source: Path | pa.Table, refund_us: int = 0, *, before_us: int | None = None
    ) -> int:
        """Load events as the base class says; tables of a history of several parts are compressed files on disk."""
        rows = source.num_rows if isinstance(source, pa.Table) else pq.read_metadata(source).num_rows
        self._parts = -(-rows // self._part_rows) or 1
        if self._parts > 1:
            file = sql.literal(Path(self._spill.name, "tables.duckdb"))
            self._run(f"ATTACH IF NOT EXISTS {file} AS on_disk")
            self._run("USE on_disk")
        return super().load_events(source, refund_us, before_us=before_us)

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
        transitions = self._lift(source)
        return self._stream(batch_sql.running_select(entity, transitions, self._span(), offsets))

    def entity_ids(self, entity: EntityPlan) -> pa.RecordBatchReader:
        """Return the ids of every entity that has an event, in order."""
        keys = ", ".join(entity.view.join_keys)
        return self._stream(f"SELECT DISTINCT {keys} FROM events ORDER BY {keys}")

    def _past(
        self, source: str, columns: Sequence[str], extra: Mapping[str, str] | None
    ) -> pa.RecordBatchReader:
        """Return the rows as the base class does, in a history of several parts with few rows in memory.

        A window holds all of its rows. So the windows of users and pairs are computed for some users at a time, and
        then those of products for some products. Windows of ``extra`` must be partitioned by user.
        """
        if self._parts == 1:
            return super()._past(source, columns, extra)
        self._create("ordered", f"SELECT * FROM ({source}) ORDER BY ts, event_key, row_id")
        span = self._span("ordered")
        pasts = {
            entity.name: batch_sql.Past(entity.name, span, self.dialect) for entity in self._plan.entities
        }
        states = batch_sql.past_states(self._plan, pasts)
        of_product = {name: state for name, state in states.items() if name.startswith("product__")}
        of_user = {**(extra or {}), **{name: states[name] for name in states if name not in of_product}}
        peers = self.dialect.peers

        def users_past(part: str) -> str:
            rows = f"(SELECT *, rowid AS position FROM ordered WHERE {part})"
            lifted = batch_sql.lifted_in_order(self._plan, rows, [peers["user"], peers["pair"]])
            transitions = batch_sql.transitions_select(self._plan, f"({lifted})", self.dialect)
            windows = [pasts["user"], pasts["pair"]]
            return batch_sql.with_past_select(f"({transitions})", windows, of_user)

        def past(part: str) -> str:
            rows = f"(SELECT *, {peers['product']} FROM users_past WHERE {part})"
            with_past = batch_sql.with_past_select(rows, [pasts["product"]], of_product)
            names = ", ".join(["position", *columns, *of_user, *of_product])
            return f"SELECT {names} FROM ({with_past}) WHERE is_row"

        self._create_in_parts("users_past", "user_id", users_past)
        self._run("DROP TABLE ordered")
        self._create_in_parts("past", "product_id", past)
        self._run("DROP TABLE users_past")
        return self._stream("SELECT * EXCLUDE (position) FROM past ORDER BY position")

    def _create_in_parts(self, table: str, key: str, query: Callable[[str], str]) -> None:
        """Compute a table by the query of the rows for which a condition holds, for some keys at a time."""
        conditions = [f"hash({key}) % {self._parts} = {part}" for part in range(self._parts)]
        self._create(table, query(conditions[0]))
        for condition in conditions[1:]:
            self._run(f"INSERT INTO {table} {query(condition)}")

    def _numbered_rows(self, source: Path | pa.Table) -> str:
        if isinstance(source, Path):
            return sql.numbered_rows(source)
        self._connection.register("given_rows", source)
        return "(SELECT *, row_number() OVER () AS file_row_number FROM given_rows)"

    def _create(self, table: str, query: str) -> None:
        self._run(f"CREATE OR REPLACE TABLE {table} AS {query}")

    def _stream(self, query: str) -> pa.RecordBatchReader:
        return self._connection.sql(query).to_arrow_reader(BATCH_ROWS)

    def _run(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and fetch its rows, without which the connection cannot run another."""
        rows: list[tuple[Any, ...]] = self._connection.execute(statement, list(parameters)).fetchall()
        return rows
