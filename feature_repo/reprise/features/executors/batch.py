"""The batch executor: the plan as SQL over a file of events, on DuckDB, which spills to disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from reprise import sql
from reprise.features.executors import batch_sql
from reprise.features.executors.plan_executor import BATCH_ROWS, PlanExecutor
from reprise.features.plan import EntityPlan, Plan
from reprise.features.sql_dialect import DUCKDB

POSITION_COLUMNS = ("topic_id", "partition", "offset")
"""Columns of an event's position in the log: the topic's id as UUID text, the partition, the offset."""


@dataclass(frozen=True)
class LogPositions:
    """The topic id of a file's last record, which is the newest incarnation, and its last offset per partition."""

    topic: UUID
    last_offsets: Mapping[int, int]


class BatchExecutor(PlanExecutor):
    """Computes states and model inputs on DuckDB; a context manager.

    ``memory_limit`` is what DuckDB may use before it spills to disk, such as ``4GiB``, and ``temp_directory`` where it
    spills to, the system's by default.
    """

    dialect = DUCKDB
    name = "duckdb"

    def __init__(self, plan: Plan, *, memory_limit: str = "4GiB", temp_directory: Path | None = None) -> None:
        super().__init__(plan)
        self._positions: LogPositions | None = None
        self._spill = TemporaryDirectory(prefix="reprise-batch-", dir=temp_directory)
        self._connection = sql.connect(memory_limit=memory_limit, temp_directory=Path(self._spill.name))

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._spill.cleanup()

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

    def _numbered_rows(self, source: Path | pa.Table) -> str:
        if isinstance(source, Path):
            return sql.numbered_rows(source)
        self._connection.register("given_rows", source)
        return "(SELECT *, row_number() OVER () AS file_row_number FROM given_rows)"

    def _create(self, table: str, query: str) -> None:
        self._run(f"CREATE OR REPLACE TEMP TABLE {table} AS {query}")

    def _stream(self, query: str) -> pa.RecordBatchReader:
        return self._connection.sql(query).to_arrow_reader(BATCH_ROWS)

    def _run(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and fetch its rows, without which the connection cannot run another."""
        rows: list[tuple[Any, ...]] = self._connection.execute(statement, list(parameters)).fetchall()
        return rows
