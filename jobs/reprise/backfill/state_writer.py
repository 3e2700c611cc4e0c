"""Writes every entity's state after a history into the online store.

DuckDB or Spark computes the states. Their watermarks are the log records that the history includes, so the stream
skips exactly those and folds the others on top. Every row gets the watermarks of all partitions: records that do not
concern a row do not change it.

All states are computed and compared with the store before the first is written. An interrupted backfill can run
again: it writes the same rows, except for the last bits of sums, whose order the engine's threads do not fix.
"""

import dataclasses
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reprise import sql
from reprise.backfill.history import History
from reprise.backfill.replaceable_store import ReplaceableStore
from reprise.events.event import ERASED_PREFIX
from reprise.features.executors.batch import BatchExecutor
from reprise.features.executors.plan_executor import PlanExecutor
from reprise.features.plan import EntityPlan, Plan
from reprise.runtime.exceptions import RepriseError
from reprise.runtime.executor_settings import ExecutorName
from reprise.store.feast.codec import ViewCodec
from reprise.store.feast.view import TICK_US
from reprise.store.online_store import GuardedWrite
from reprise.store.watermarks import log_position

_BATCH_ROWS = 1_000


class BackfillError(RepriseError):
    """The history cannot be written to the store, or the group's offsets cannot be set."""


@dataclass(frozen=True)
class BackfillReport:
    """Numbers of a backfill: events, rows by view and rows removed; and its executor."""

    events: int
    rows: Mapping[str, int]
    removed: int
    executor: ExecutorName


def backfill(
    history: History,
    plan: Plan,
    store: ReplaceableStore,
    project: str,
    *,
    duplicate_window: timedelta | None = None,
    replace: bool = False,
    memory_limit: str = sql.MEMORY_LIMIT,
    open_executor: Callable[..., PlanExecutor] = BatchExecutor,
    advance: Callable[[int], object] = lambda _: None,
) -> BackfillReport:
    """Write the state of every user, product and pair after these events.

    ``replace`` overwrites rows that include other records, and removes rows without events here. Nothing else may
    write to the store meanwhile. ``duplicate_window`` is how long the stream keeps an event id; it needs the log
    positions of the events, and without it no ids are stored. ``open_executor`` is ``BatchExecutor`` or
    ``SparkExecutor``. ``advance`` is called with the number of rows written since the last call.

    Raises:
        BackfillError: Rows include other records, and ``replace`` is not set. Nothing was written, unless the
            stream has written such a row meanwhile.
        NotEnoughEventsError: No event makes features.
        StoreError: The store is unavailable, or refuses.
    """
    with TemporaryDirectory(prefix="reprise-states-") as folder:
        with open_executor(plan, memory_limit=memory_limit) as executor:
            loaded = executor.load_events(history.path)
            views = [
                _ViewWriter(store, history, executor, entity, project, Path(folder))
                for entity in plan.entities
            ]
        if not replace:
            for view in views:
                view.check()
        replication_ids = store.replication_ids()
        if duplicate_window is not None:
            _claim_event_ids(history.path, plan, store, duplicate_window)
        written = {view.codec.view.name: view.write(advance, replace=replace) for view in views}
        removed = 0
        if replace:
            removed = sum(store.remove_other_rows(view.codec, view.watermarks) for view in views)
        store.wait_for_replicas(replication_ids)
    return BackfillReport(loaded, written, removed, executor.name)


def _claim_event_ids(events: Path, plan: Plan, store: ReplaceableStore, window: timedelta) -> None:
    """Store the first log position of each event that arrived within the window.

    The stream stores the same for the records that it reads, and does not read the backfilled ones. Only the plan's
    event types count.
    """
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


class _ViewWriter:
    def __init__(
        self,
        store: ReplaceableStore,
        history: History,
        executor: PlanExecutor,
        entity: EntityPlan,
        project: str,
        folder: Path,
    ) -> None:
        self._store = store
        self._history = history
        self._path = folder / f"{entity.name}.parquet"
        self.codec = ViewCodec(project, entity.view)
        self.watermarks = history.watermarks.to_bytes()
        states = executor.final_states(entity.name)
        with pq.ParquetWriter(self._path, states.schema, compression="zstd") as writer:
            for batch in states:
                writer.write_batch(_without_erased(batch))

    def check(self) -> None:
        """Raise if rows of the store include records that the history lacks."""
        self._require_included(row for writes in self._batches() for row in self._stored_watermarks(writes))

    def write(self, advance: Callable[[int], object], *, replace: bool) -> int:
        """Write all rows, and return how many."""
        count = 0
        for writes in self._batches():
            pending = writes
            while True:
                written = self._store.write_guarded(pending)
                refused = [write for write, done in zip(pending, written, strict=True) if not done]
                if not refused:
                    break
                stored = self._stored_watermarks(refused)
                if not replace:
                    self._require_included(stored)
                pending = [
                    dataclasses.replace(write, expected_watermarks=watermarks)
                    for write, watermarks in zip(refused, stored, strict=True)
                ]
            count += len(writes)
            advance(len(writes))
        return count

    def _batches(self) -> Iterator[list[GuardedWrite]]:
        """Yield the writes of one round trip after another, each for a row that does not exist yet."""
        view = self.codec.view
        for batch in pq.ParquetFile(self._path).iter_batches(_BATCH_ROWS):
            ids = zip(*(batch.column(key).to_pylist() for key in view.join_keys), strict=True)
            states = zip(*(batch.column(field.name).to_pylist() for field in view.fields), strict=True)
            lasts = batch.column("last_us").to_pylist()
            yield [
                GuardedWrite(
                    self.codec, self.codec.key(*row_ids), None, state, self.watermarks, last + TICK_US
                )
                for row_ids, state, last in zip(ids, states, lasts, strict=True)
            ]

    def _stored_watermarks(self, writes: Sequence[GuardedWrite]) -> list[bytes | None]:
        return [row.watermarks for row in self._store.read([(write.codec, write.key) for write in writes])]

    def _require_included(self, stored: Iterable[bytes | None]) -> None:
        excess = [text for row in stored if (text := self._history.describe_excess(row)) is not None]
        if excess:
            raise BackfillError(
                f"{len(excess):,} rows of {self.codec.view.name} hold events that this backfill would lose (one holds"
                f" {excess[0]}); let the archiver catch up and try again, or pass --replace to write over them"
            )


def _without_erased(states: pa.RecordBatch) -> pa.RecordBatch:
    """Leave out the rows of erased users, whom nobody asks for."""
    if "user_id" not in states.schema.names:
        return states
    return states.filter(pc.invert(pc.starts_with(states.column("user_id"), ERASED_PREFIX)))
