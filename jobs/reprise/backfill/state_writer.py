"""Writes every entity's state after a history into the online store.

The batch executor computes the states. Their watermarks are the log records that the history includes, so the stream
skips exactly those and folds the others on top. Every row gets the watermarks of all partitions: records that do not
concern a row do not change it.

All states are computed and compared with the store before the first is written. An interrupted backfill can run
again: it writes the same rows, except for the last bits of sums, whose order DuckDB's threads do not fix.
"""

import dataclasses
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from reprise import sql
from reprise.backfill.exceptions import StateAheadError
from reprise.backfill.history import IncludedRecords
from reprise.backfill.replaceable_store import ReplaceableStore
from reprise.features.executors.batch import BatchExecutor
from reprise.features.plan import EntityPlan, Plan
from reprise.store.feast.codec import ViewCodec
from reprise.store.feast.view import TICK_US
from reprise.store.online_store import GuardedWrite
from reprise.store.watermarks import log_position

_BATCH_ROWS = 1_000


@dataclass(frozen=True)
class BackfillReport:
    """Numbers of events that make the states, rows written by view, event ids stored, and other rows removed."""

    events: int
    rows: Mapping[str, int]
    claimed_ids: int
    removed: int


def backfill(
    events: Path,
    plan: Plan,
    store: ReplaceableStore,
    project: str,
    *,
    included: IncludedRecords | None = None,
    duplicate_window: timedelta | None = None,
    replace: bool = False,
    memory_limit: str = sql.MEMORY_LIMIT,
    advance: Callable[[int], None] | None = None,
) -> BackfillReport:
    """Write the state of every user, product and pair after these events.

    Args:
        events: Canonical Parquet; with ``duplicate_window`` also with the log positions of the events.
        plan: The plan.
        store: The online store.
        project: The Feast project.
        included: The log records that the events include; none by default.
        duplicate_window: How long the stream keeps an event id; by default no ids are stored.
        replace: Overwrite rows that include other records, and remove rows without events here. Nothing else may
            write to the store meanwhile.
        memory_limit: As for ``BatchExecutor``.
        advance: Called with the number of rows written since the last call.

    Raises:
        StateAheadError: Rows include other records, and ``replace`` is not set. Nothing was written, unless the
            stream has written such a row meanwhile.
        NotEnoughEventsError: No event makes features.
        StoreError: The store is unavailable, or refuses.
    """
    writer = _Writer(store, included or IncludedRecords(), replace=replace)
    with TemporaryDirectory(prefix="reprise-states-") as folder:
        with BatchExecutor(plan, memory_limit=memory_limit) as executor:
            loaded = executor.load_events(events)
            views = [_computed_view(executor, entity, project, Path(folder)) for entity in plan.entities]
        if not replace:
            for view in views:
                writer.check(view)
        replication_ids = store.replication_ids()
        claimed = 0
        if duplicate_window is not None:
            claimed = _claim_event_ids(events, plan, store, duplicate_window)
        written = {view.codec.view.name: writer.write(view, advance) for view in views}
        removed = sum(writer.remove_other_rows(view) for view in views) if replace else 0
        store.wait_for_replicas(replication_ids)
    return BackfillReport(loaded, written, claimed, removed)


def _claim_event_ids(events: Path, plan: Plan, store: ReplaceableStore, window: timedelta) -> int:
    """Store the first log position of each event that arrived within the window; return how many events.

    The stream stores the same for the records that it reads, and does not read the backfilled ones. ``events`` has log
    positions, as ``collect_history`` writes them. Only the plan's event types count.

    Raises:
        StoreError: The store is unavailable, or refuses.
    """
    count = 0
    with sql.connect() as connection:
        recent = connection.execute(
            f"""
            SELECT event_id, topic_id, partition, "offset" FROM read_parquet({sql.literal(events)})
            WHERE topic_id IS NOT NULL AND list_contains(?, event_type)
            QUALIFY row_number() OVER (
                PARTITION BY event_id ORDER BY incarnation, arrival, partition, "offset"
            ) = 1 AND max(arrival) OVER (PARTITION BY event_id) >= ?
            """,
            [list(plan.frames), datetime.now(UTC) - window],
        )
        while rows := recent.fetchmany(_BATCH_ROWS):
            claims = [
                (event_id, log_position(uuid.UUID(topic_id).bytes, partition, offset))
                for event_id, topic_id, partition, offset in rows
            ]
            store.claim_event_ids(claims, window)
            count += len(claims)
    return count


@dataclass(frozen=True)
class _View:
    """The computed rows of one view, in a file."""

    codec: ViewCodec
    path: Path

    def batches(self, watermarks: bytes) -> Iterator[list[GuardedWrite]]:
        """Yield the writes of one round trip after another, each for a row that does not exist yet."""
        view = self.codec.view
        for batch in pq.ParquetFile(self.path).iter_batches(_BATCH_ROWS):
            ids = zip(*(batch.column(key).to_pylist() for key in view.join_keys), strict=True)
            states = zip(*(batch.column(field.name).to_pylist() for field in view.fields), strict=True)
            lasts = batch.column("last_us").to_pylist()
            yield [
                GuardedWrite(self.codec, self.codec.key(*row_ids), None, state, watermarks, last + TICK_US)
                for row_ids, state, last in zip(ids, states, lasts, strict=True)
            ]


def _computed_view(executor: BatchExecutor, entity: EntityPlan, project: str, folder: Path) -> _View:
    path = folder / f"{entity.name}.parquet"
    batches: Iterator[pa.RecordBatch] = executor.final_states(entity.name)
    first = next(batches)
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        for batch in chain([first], batches):
            writer.write_batch(batch)
    return _View(ViewCodec(project, entity.view), path)


class _Writer:
    def __init__(self, store: ReplaceableStore, included: IncludedRecords, *, replace: bool) -> None:
        self._store = store
        self._included = included
        self._watermarks = included.watermarks.to_bytes()
        self._replace = replace

    def check(self, view: _View) -> None:
        """Raise if rows of the store include records that the history lacks."""
        batches = view.batches(self._watermarks)
        self._require_included(view, [row for writes in batches for row in self._stored_watermarks(writes)])

    def write(self, view: _View, advance: Callable[[int], None] | None) -> int:
        """Write all rows, and return how many."""
        count = 0
        for writes in view.batches(self._watermarks):
            self._write_batch(view, writes)
            count += len(writes)
            if advance is not None:
                advance(len(writes))
        return count

    def remove_other_rows(self, view: _View) -> int:
        """Remove the rows that were not written, and return how many."""
        return self._store.remove_other_rows(view.codec, self._watermarks)

    def _write_batch(self, view: _View, writes: Sequence[GuardedWrite]) -> None:
        while True:
            written = self._store.write_guarded(writes)
            refused = [write for write, done in zip(writes, written, strict=True) if not done]
            if not refused:
                return
            stored = self._stored_watermarks(refused)
            if not self._replace:
                self._require_included(view, stored)
            writes = [
                dataclasses.replace(write, expected_watermarks=watermarks)
                for write, watermarks in zip(refused, stored, strict=True)
            ]

    def _stored_watermarks(self, writes: Sequence[GuardedWrite]) -> list[bytes | None]:
        return [row.watermarks for row in self._store.read([(write.codec, write.key) for write in writes])]

    def _require_included(self, view: _View, stored: Iterable[bytes | None]) -> None:
        excess = [text for row in stored if (text := self._included.describe_excess(row)) is not None]
        if excess:
            raise StateAheadError(view.codec.view.name, len(excess), excess[0])
