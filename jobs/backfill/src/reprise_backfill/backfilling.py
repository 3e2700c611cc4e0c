"""Writing every entity's state after a history into the online store.

The states are those of the batch executor. Their watermarks name no topic: the stream folds every record on
top of them. A backfill that was stopped can be run again: rows that only a backfill has written are written
over, rows that the stream has touched are not, unless told so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from reprise_features.batch import BatchExecutor
from reprise_features.plan import EntityPlan, Plan
from reprise_online.codec import ViewCodec
from reprise_online.store import GuardedWrite, OnlineStore
from reprise_online.watermarks import Watermarks

from reprise_backfill.exceptions import StreamedRowsError

NO_TOPIC_WATERMARKS = Watermarks(bytes(16)).to_bytes()
"""The watermarks of a row that holds no record of any topic."""

_ROWS_A_ROUND_TRIP = 1_000


@dataclass(frozen=True)
class BackfillReport:
    """What a backfill wrote: rows by view, and of how many events."""

    events: int
    rows: Mapping[str, int]


def backfill(
    events: Path,
    plan: Plan,
    store: OnlineStore,
    project: str,
    *,
    replace: bool = False,
    memory_limit: str = "3GiB",
    advance: Callable[[int], None] | None = None,
) -> BackfillReport:
    """Write the state of every user, product and pair after these events.

    Args:
        events: Canonical Parquet.
        plan: Which state.
        store: Where to write.
        project: The Feast project.
        replace: Whether to write over rows that the stream has folded events into.
        memory_limit: What DuckDB may hold before it spills.
        advance: Called with the number of rows written since the last call.

    Raises:
        StreamedRowsError: Rows hold events of the stream, and ``replace`` is not set.
        NotEnoughEventsError: No event makes features.
        StoreError: The store is away, or refuses.
    """
    written: dict[str, int] = {}
    with BatchExecutor(plan, memory_limit=memory_limit) as executor:
        loaded = executor.load_events(events)
        for entity in plan.entities:
            codec = ViewCodec(project, entity.view)
            rows = 0
            for batch in executor.final_states(entity.name):
                for writes in _round_trips(codec, entity, batch):
                    _write(store, codec, writes, replace=replace)
                    rows += len(writes)
                    if advance is not None:
                        advance(len(writes))
            written[entity.view.name] = rows
    return BackfillReport(loaded, written)


def _round_trips(codec: ViewCodec, entity: EntityPlan, batch: pa.RecordBatch) -> Iterator[list[GuardedWrite]]:
    ids = zip(*(batch.column(key).to_pylist() for key in entity.view.join_keys), strict=True)
    states = zip(*(batch.column(field.name).to_pylist() for field in entity.view.fields), strict=True)
    lasts = batch.column("last_us").to_pylist()
    writes = [
        _first_write(codec, key, state, last) for key, state, last in zip(ids, states, lasts, strict=True)
    ]
    for start in range(0, len(writes), _ROWS_A_ROUND_TRIP):
        yield writes[start : start + _ROWS_A_ROUND_TRIP]


def _first_write(codec: ViewCodec, ids: Sequence[str], state: Sequence[Any], last_us: int) -> GuardedWrite:
    return GuardedWrite(
        codec=codec,
        key=codec.key(*ids),
        expected_watermarks=None,
        state=state,
        watermarks=NO_TOPIC_WATERMARKS,
        event_timestamp_us=last_us,
    )


def _write(store: OnlineStore, codec: ViewCodec, writes: Sequence[GuardedWrite], *, replace: bool) -> None:
    left = _not_written(store, writes)
    while left:
        rows = store.read([(codec, write.key) for write in left])
        streamed = sum(row.watermarks not in {None, NO_TOPIC_WATERMARKS} for row in rows)
        if streamed and not replace:
            raise StreamedRowsError(codec.view.name, streamed)
        left = _not_written(
            store,
            [
                GuardedWrite(
                    codec=write.codec,
                    key=write.key,
                    expected_watermarks=row.watermarks,
                    state=write.state,
                    watermarks=write.watermarks,
                    event_timestamp_us=write.event_timestamp_us,
                )
                for write, row in zip(left, rows, strict=True)
            ],
        )


def _not_written(store: OnlineStore, writes: Sequence[GuardedWrite]) -> list[GuardedWrite]:
    done = store.write_guarded(writes)
    return [write for write, written in zip(writes, done, strict=True) if not written]
