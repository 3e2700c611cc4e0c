"""Writing every entity's state after a history into the online store.

The states are those of the batch executor. Their watermarks say which records of the log they include: those
up to the last archived one where the events are of the offline store, none where they are of a file. So the
stream skips exactly what is included, and folds the rest on top. Every row gets the watermarks of all
partitions: a row that covers records which do not concern it stays the same.

All states are computed and compared with what is in the store before the first is written. A backfill that was
stopped can be run again: it writes the same rows over those that it has written, the same to the last bits of
sums, whose order DuckDB's threads do not fix.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reprise.backfill.covered import Covered
from reprise.backfill.event_id_claims import remember_arrivals
from reprise.backfill.exceptions import StateAheadError
from reprise.backfill.replaceable_store import ReplaceableStore
from reprise.features.executors.batch import BatchExecutor
from reprise.features.plan import EntityPlan, Plan
from reprise.store.feast.codec import ViewCodec
from reprise.store.feast.view import TICK_US
from reprise.store.online_store import GuardedWrite

_ROWS_A_ROUND_TRIP = 1_000


@dataclass(frozen=True)
class BackfillReport:
    """What a backfill did.

    Attributes:
        events: How many events make the states.
        rows: How many rows were written, by view.
        remembered: How many event ids were remembered, for the stream to drop their duplicates.
        removed: How many other rows were removed.
    """

    events: int
    rows: Mapping[str, int]
    remembered: int
    removed: int


def backfill(
    events: Path,
    plan: Plan,
    store: ReplaceableStore,
    project: str,
    *,
    covered: Covered | None = None,
    duplicate_window: timedelta | None = None,
    replace: bool = False,
    memory_limit: str = "3GiB",
    advance: Callable[[int], None] | None = None,
) -> BackfillReport:
    """Write the state of every user, product and pair after these events.

    Args:
        events: Canonical Parquet; with ``duplicate_window`` also with the place of each event in the log.
        plan: Which state.
        store: Where to write.
        project: The Feast project.
        covered: Which records of the log the events include; none, if absent.
        duplicate_window: For how long the stream remembers an event; if absent, nothing is remembered.
        replace: Whether to write over rows that hold events which are not among these, and to remove the rows
            that are not of these events; nothing else may write to the store meanwhile.
        memory_limit: What DuckDB may hold before it spills.
        advance: Called with the number of rows written since the last call.

    Raises:
        StateAheadError: Rows hold other events, and ``replace`` is not set; nothing was written, unless the
            rows came to be so meanwhile.
        NotEnoughEventsError: No event makes features.
        StoreError: The store is away, or refuses.
    """
    writer = _Writer(store, covered or Covered(), replace=replace)
    with TemporaryDirectory(prefix="reprise-states-") as folder:
        spooled = {entity.name: Path(folder) / f"{entity.name}.parquet" for entity in plan.entities}
        with BatchExecutor(plan, memory_limit=memory_limit) as executor:
            loaded = executor.load_events(events)
            for entity in plan.entities:
                _spool(executor.final_states(entity.name), spooled[entity.name])
        rounds = {
            entity.view.name: _Rounds(ViewCodec(project, entity.view), entity, spooled[entity.name])
            for entity in plan.entities
        }
        if not replace:
            for each in rounds.values():
                writer.check(each)
        replication_ids = store.replication_ids()
        remembered = 0
        if duplicate_window is not None:
            remembered = remember_arrivals(events, plan, store, duplicate_window)
        written = {view: writer.write(each, advance) for view, each in rounds.items()}
        removed = sum(writer.remove_others(each) for each in rounds.values()) if replace else 0
        store.wait_for_replicas(replication_ids)
    return BackfillReport(loaded, written, remembered, removed)


@dataclass(frozen=True)
class _Row:
    """A row to write."""

    key: bytes
    state: Sequence[Any]
    last_us: int


@dataclass(frozen=True)
class _Rounds:
    """The rows of one view, a round trip's worth at a time."""

    codec: ViewCodec
    entity: EntityPlan
    path: Path

    def __iter__(self) -> Iterator[list[_Row]]:
        view = self.entity.view
        for batch in pq.ParquetFile(self.path).iter_batches(_ROWS_A_ROUND_TRIP):
            ids = zip(*(batch.column(key).to_pylist() for key in view.join_keys), strict=True)
            states = zip(*(batch.column(field.name).to_pylist() for field in view.fields), strict=True)
            lasts = batch.column("last_us").to_pylist()
            yield [
                _Row(self.codec.key(*named), state, last)
                for named, state, last in zip(ids, states, lasts, strict=True)
            ]


class _Writer:
    def __init__(self, store: ReplaceableStore, covered: Covered, *, replace: bool) -> None:
        self._store = store
        self._covered = covered
        self._watermarks = covered.watermarks.to_bytes()
        self._replace = replace

    def check(self, rounds: _Rounds) -> None:
        """Raise when rows of the store hold what is not included."""
        ahead = 0
        example = ""
        for rows in rounds:
            beyond = self._beyond(self._read(rounds.codec, rows).values())
            ahead += len(beyond)
            example = example or next(iter(beyond), "")
        if ahead:
            raise StateAheadError(rounds.codec.view.name, ahead, example)

    def write(self, rounds: _Rounds, advance: Callable[[int], None] | None) -> int:
        """Write all rows, and return how many there are."""
        count = 0
        for rows in rounds:
            self._write(rounds.codec, rows)
            count += len(rows)
            if advance is not None:
                advance(len(rows))
        return count

    def remove_others(self, rounds: _Rounds) -> int:
        """Remove the rows that were not written, and return how many they were."""
        return self._store.remove_others(rounds.codec, self._watermarks)

    def _write(self, codec: ViewCodec, rows: Sequence[_Row]) -> None:
        expected: dict[bytes, bytes | None] = {row.key: None for row in rows}
        left = list(rows)
        while True:
            writes = [self._guarded(codec, row, expected[row.key]) for row in left]
            done = self._store.write_guarded(writes)
            left = [row for row, written in zip(left, done, strict=True) if not written]
            if not left:
                return
            expected = self._read(codec, left)
            beyond = [] if self._replace else self._beyond(expected.values())
            if beyond:
                raise StateAheadError(codec.view.name, len(beyond), beyond[0])

    def _guarded(self, codec: ViewCodec, row: _Row, expected: bytes | None) -> GuardedWrite:
        return GuardedWrite(
            codec=codec,
            key=row.key,
            expected_watermarks=expected,
            state=row.state,
            watermarks=self._watermarks,
            event_timestamp_us=row.last_us + TICK_US,
        )

    def _read(self, codec: ViewCodec, rows: Sequence[_Row]) -> dict[bytes, bytes | None]:
        stored = self._store.read([(codec, row.key) for row in rows])
        return {row.key: found.watermarks for row, found in zip(rows, stored, strict=True)}

    def _beyond(self, watermarks: Iterable[bytes | None]) -> list[str]:
        found = (self._covered.beyond(row) for row in watermarks)
        return [held for held in found if held is not None]


def _spool(batches: Iterator[pa.RecordBatch], path: Path) -> None:
    first = next(batches)
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        writer.write_batch(first)
        for batch in batches:
            writer.write_batch(batch)
