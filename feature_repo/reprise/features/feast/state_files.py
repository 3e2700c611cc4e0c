"""The files of states over time that Feast's offline store reads."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reprise.features.executors.batch import BatchExecutor, LogPositions
from reprise.features.executors.plan_executor import ARROW_TYPES
from reprise.features.plan import EntityPlan, Plan
from reprise.runtime.files import atomic_write
from reprise.store.feast.view import TICK_US, WATERMARKS, StateView
from reprise.store.watermarks import NO_TOPIC, Watermarks

EVENT_TIMESTAMP = "event_timestamp"
"""Column of the instant from which a row is valid: one microsecond after its newest event."""

INITIAL_TIMESTAMP = datetime(1900, 1, 1, tzinfo=UTC)
"""Instant of an entity's first row, the empty state; without it Feast would drop requests from before the others."""

_NO_TOPIC_WATERMARKS = Watermarks(NO_TOPIC).to_bytes()


@dataclass(frozen=True)
class StateRowsReport:
    """The number of events, and of rows written by view."""

    events: int
    rows: Mapping[str, int]

    def __str__(self) -> str:
        rows = ", ".join(f"{count:,} of {view}" for view, count in self.rows.items())
        return f"{rows}, after {self.events:,} events"


def state_file_name(view: StateView) -> str:
    """Return the name of the file with a view's rows."""
    return f"{view.name}.parquet"


def write_state_rows(
    events: Path,
    out: Path,
    plan: Plan,
    *,
    memory_limit: str = "4GiB",
    advance: Callable[[int], object] = lambda _: None,
) -> StateRowsReport:
    """Write one file per view, with one row per entity and instant at which it had events.

    A row is the state after all events of the instant, and valid from the next microsecond on. So Feast, which reads
    the row at or before an instant, gets the state strictly before it. If the events have log positions, an entity's
    last row has the watermarks of all records of the file, and the other rows those of their own events. Otherwise
    the watermarks name no topic.

    ``events`` is canonical Parquet, and ``out`` a folder. ``advance`` is called with the number of rows written since
    the last call.

    Raises:
        NotEnoughEventsError: No event makes features.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, int] = {}
    with BatchExecutor(plan, memory_limit=memory_limit) as executor:
        loaded = executor.load_events(events)
        positions = executor.load_positions(events)
        for entity in plan.entities:
            view, schema = entity.view, state_rows_schema(entity.view)
            rows[view.name] = 0
            with (
                atomic_write(out / state_file_name(view)) as partial,
                pq.ParquetWriter(partial, schema, compression="zstd") as writer,
            ):
                for batch in _view_rows(executor, entity, positions, schema):
                    writer.write_batch(batch)
                    rows[view.name] += batch.num_rows
                    advance(batch.num_rows)
    return StateRowsReport(loaded, rows)


def state_rows_schema(view: StateView) -> pa.Schema:
    """Return the columns of a view's file.

    Feast converts integers to doubles if any is null. Counts and instants survive that. Event keys, integers of up to
    60 bits, do not, so they are decimals, which Feast converts to integers.
    """
    fields = [
        (f.name, pa.decimal128(19) if f.name.endswith("_key") else ARROW_TYPES[f.kind]) for f in view.fields
    ]
    return pa.schema(
        [
            *((key, pa.string()) for key in view.join_keys),
            *fields,
            (WATERMARKS, pa.binary()),
            (EVENT_TIMESTAMP, pa.timestamp("us", "UTC")),
        ]
    )


def _view_rows(
    executor: BatchExecutor, entity: EntityPlan, positions: LogPositions | None, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    initial = [*entity.empty, _NO_TOPIC_WATERMARKS, INITIAL_TIMESTAMP]
    constants = list(zip(initial, list(schema)[len(entity.view.join_keys) :], strict=True))
    for ids in executor.entity_ids(entity):
        empty = [pa.repeat(pa.scalar(value, field.type), ids.num_rows) for value, field in constants]
        yield pa.RecordBatch.from_arrays([*ids.columns, *empty], schema=schema)
    for batch in executor.running_states(entity):
        valid_from = pc.add(batch.column("ts"), TICK_US).cast(schema.field(EVENT_TIMESTAMP).type)
        columns = [batch.column(field.name).cast(field.type) for field in list(schema)[:-2]]
        yield pa.RecordBatch.from_arrays([*columns, _watermarks(batch, positions), valid_from], schema=schema)


def _watermarks(batch: pa.RecordBatch, positions: LogPositions | None) -> pa.Array:
    if positions is None:
        return pa.repeat(pa.scalar(_NO_TOPIC_WATERMARKS, pa.binary()), batch.num_rows)
    topic, partitions = positions.topic.bytes, list(positions.last_offsets)
    after_all = Watermarks(topic, positions.last_offsets).to_bytes()
    offsets = zip(*(batch.column(f"offset_{partition}").to_pylist() for partition in partitions), strict=True)
    reached = (
        {partition: offset for partition, offset in zip(partitions, row, strict=True) if offset is not None}
        for row in offsets
    )
    rows = zip(batch.column("is_last").to_pylist(), reached, strict=True)
    return pa.array(
        [after_all if is_last else Watermarks(topic, own).to_bytes() for is_last, own in rows], pa.binary()
    )
