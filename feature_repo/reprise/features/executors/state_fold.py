"""Training rows of the days after a snapshot of all states, by the stream's fold."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reprise import sql
from reprise.events import Event
from reprise.features.executors import batch_sql
from reprise.features.executors.batch import BatchExecutor
from reprise.features.executors.fold import Fold, InMemoryStates
from reprise.features.executors.plan_executor import ARROW_TYPES, PlanExecutor
from reprise.features.feature_functions import FloatArray
from reprise.features.labels import training_label
from reprise.features.plan import EntityPlan, Plan
from reprise.features.sampled_requests import EarlierDays, expected_idle, known_pairs
from reprise.features.sql_dialect import ROW_ORDER
from reprise.features.vectorizer import StateRow
from reprise.runtime.files import atomic_write

SNAPSHOT_TABLES = ("user", "product", "pair", "known_pairs", "expected_idle")
"""The Parquet files of a snapshot: states by entity, and what the sample of later days depends on."""

_EVENT = ("event_id", "user_id", "product_id", "event_type", "ts", "amount")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The states after all events before an instant, the start of a day, UTC."""

    end_us: int
    files: Mapping[str, Path]  # By ``SNAPSHOT_TABLES``

    def table(self, name: str) -> str:
        """Return SQL of one of its tables."""
        return f"read_parquet({sql.literal(self.files[name])})"

    def remove(self) -> None:
        """Remove its files."""
        for path in self.files.values():
            path.unlink(missing_ok=True)


def write_snapshot(executor: PlanExecutor, plan: Plan, snapshot: Snapshot) -> None:
    """Write the snapshot of an executor that has loaded all events before its end."""
    for entity in plan.entities:
        schema = _states_schema(entity)
        with (
            atomic_write(snapshot.files[entity.name]) as partial,
            pq.ParquetWriter(partial, schema, compression="zstd") as writer,
        ):
            for batch in executor.final_states(entity.name):
                columns = [batch.column(field.name).cast(field.type) for field in schema]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    with (
        executor.known_pairs() as pairs,
        atomic_write(snapshot.files["known_pairs"]) as partial,
        pq.ParquetWriter(partial, pairs.schema, compression="zstd") as writer,
    ):
        for batch in pairs:
            writer.write_batch(batch)
    expected = executor.expected_idle()
    with atomic_write(snapshot.files["expected_idle"]) as partial:
        pq.write_table(pa.table({"repeat": [*expected], "expected": [*expected.values()]}), partial)


class StateFold(BatchExecutor):
    """Folds the days after a snapshot, one after the other, and labels their rows; a context manager.

    Only the states of the entities of one day's rows are in memory. ``fold_until`` and ``advance`` take turns.
    """

    def load_rows(self, events: Path, snapshot: Snapshot, questions_us: int, refund_us: int) -> None:
        """Load the rows of all events and sampled requests since the snapshot, whose labels are known.

        ``events`` is canonical Parquet of distinct events, ``questions_us`` how long after a row its label is known.

        Raises:
            NotEnoughEventsError: There are no events since the snapshot.
        """
        self.load_since(events, refund_us, snapshot.end_us)
        expected = self._run(f"SELECT repeat, expected FROM {snapshot.table('expected_idle')}")
        self._fold = Fold(self._plan)
        self._snapshot = snapshot
        self._earlier = EarlierDays(snapshot.end_us, snapshot.table("known_pairs"), dict(expected))
        names, questions = (
            ", ".join(batch_sql.ROW_COLUMNS),
            self._sampled_requests(questions_us, self._earlier),
        )
        self._create(
            "fold_rows",
            f"""
            SELECT r.*, coalesce(bought < ts, false) AS repeat_candidate
            FROM (
                SELECT {names}, 'before' AS asked FROM ({self._events(is_row=True)})
                UNION ALL SELECT {names}, asked FROM ({questions})
            ) r JOIN sampling_pairs USING (user_id, product_id)
            WHERE ts <= (SELECT max(ts) - {questions_us} FROM events)
            """,
        )

    def load_since(self, events: Path, refund_us: int, since_us: int) -> None:
        """Load the events from an instant on, for ``labels``."""
        self._since_us = since_us
        self.load_events(events, refund_us)

    def fold_until(self, end_us: int) -> Iterator[tuple[pa.RecordBatch, FloatArray]]:
        """Yield the rows of the days from the snapshot on until an instant, with their inputs, in order."""
        self._states = self._load_states(end_us)
        pending: list[Event] = []
        now = -1
        rows = f"SELECT * FROM fold_rows WHERE ts >= {self._snapshot.end_us} AND ts < {end_us}"
        for batch in self._stream(f"{rows} ORDER BY {ROW_ORDER}"):
            states: tuple[list[StateRow], ...] = ([], [], [])
            columns = [batch.column(name).to_pylist() for name in _EVENT]
            for is_event, *fields in zip(batch.column("is_event").to_pylist(), *columns, strict=True):
                _, user, product, _, at_us, _ = fields
                if at_us > now:
                    for event in pending:
                        self._states.fold(self._fold, event)
                    pending, now = [], at_us
                for kept, row in zip(states, self._states.of(user, product), strict=True):
                    kept.append(row)
                if is_event:
                    pending.append(Event(*fields))
            columns_of = (
                [[row[entity.field_index[field.name]] for row in kept] for field in view.fields]
                for entity, view, kept in zip(self._plan.entities, self._views, states, strict=True)
            )
            yield batch, self._inputs(batch, columns_of)
        for event in pending:
            self._states.fold(self._fold, event)

    def advance(self, after: Snapshot) -> None:
        """Write the states after ``fold_until`` until the end of a snapshot, from which the next day goes on."""
        for entity, rows in self._state_rows(self._states):
            keys = ", ".join(entity.view.join_keys)
            ids = zip(*rows, strict=True) if entity.name == "pair" else [rows]
            columns = [*map(list, ids), *map(list, zip(*rows.values(), strict=True))]
            schema = _states_schema(entity)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            self._connection.register("changed", pa.table(arrays, schema=schema))
            self._write(
                f"SELECT * FROM {self._snapshot.table(entity.name)} ANTI JOIN changed USING ({keys})"
                " UNION ALL SELECT * FROM changed",
                after.files[entity.name],
            )
        pairs = known_pairs(self._plan.purchase_type, self._earlier, after.end_us)
        self._write(pairs, after.files["known_pairs"])
        self._write(expected_idle(after.end_us), after.files["expected_idle"])
        self._snapshot = after

    def labels(
        self, rows: Sequence[Path], horizons_us: Mapping[str, int], complete_until_us: int
    ) -> pa.Table:
        """Return the labels of files of rows, in order: a column by name for each horizon.

        The loaded events are all from the first row's instant on.
        """
        frame = self._plan.purchase_frame
        labels = ", ".join(
            f"{training_label(frame, horizon_us, complete_until_us)} AS {name}"
            for name, horizon_us in horizons_us.items()
        )
        files = ", ".join(map(sql.literal, rows))
        return self._stream(
            f"""
            SELECT * EXCLUDE (place) FROM (
                SELECT place, {labels} FROM (
                    SELECT user_id, product_id, ts, ts AS {frame}_t, NULL AS place,
                           event_id IN (SELECT event_id FROM refunded) AS refunded
                    FROM events WHERE event_type = {sql.literal(self._plan.purchase_type)}
                    UNION ALL
                    SELECT user_id, product_id, epoch_us(timestamp), NULL,
                           (file_index, file_row_number), NULL
                    FROM read_parquet([{files}], file_row_number = true)
                )
            ) WHERE place IS NOT NULL ORDER BY place
            """
        ).read_all()

    def _numbered_rows(self, source: Path | pa.Table) -> str:
        # A condition from which DuckDB knows what parts of the file to skip
        rows = super()._numbered_rows(source)
        return f"(SELECT * FROM {rows} WHERE timestamp >= make_timestamptz({self._since_us}))"

    def _load_states(self, end_us: int) -> InMemoryStates:
        states = InMemoryStates(self._plan)
        for entity, rows in self._state_rows(states):
            keys = entity.view.join_keys
            needed = (
                f"SELECT DISTINCT {', '.join(keys)} FROM fold_rows"
                f" WHERE ts >= {self._snapshot.end_us} AND ts < {end_us}"
            )
            stored = f"SELECT * FROM {self._snapshot.table(entity.name)} SEMI JOIN ({needed}) USING ({', '.join(keys)})"
            for batch in self._stream(stored):
                columns = [column.to_pylist() for column in batch.columns]
                ids = columns[0] if len(keys) == 1 else zip(*columns[: len(keys)], strict=True)
                rows.update(zip(ids, zip(*columns[len(keys) :], strict=True), strict=True))
        return states

    def _state_rows(self, states: InMemoryStates) -> list[tuple[EntityPlan, dict[Any, StateRow]]]:
        rows: tuple[dict[Any, StateRow], ...] = (states.users, states.products, states.pairs)
        return list(zip(self._plan.entities, rows, strict=True))

    def _write(self, query: str, path: Path) -> None:
        with atomic_write(path) as partial:
            sql.copy_to_parquet(self._connection, query, partial)


def _states_schema(entity: EntityPlan) -> pa.Schema:
    view = entity.view
    return pa.schema(
        [(key, pa.string()) for key in view.join_keys]
        + [(field.name, ARROW_TYPES[field.kind]) for field in view.fields]
    )
