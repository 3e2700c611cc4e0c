"""Training rows that are kept from one training to the next: a Parquet file per day, and the states after the last.

A file's name has a hash of all that its rows depend on. So what exists is valid, whatever a run was interrupted at:
rows depend on the engine's code, the plan and the events until the end of their day, their labels also on the events of
the label window.
"""

import fcntl
import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import IO

import duckdb
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import reprise.features
from reprise import sql
from reprise.features.accumulators import MICROSECONDS_PER_DAY
from reprise.features.exceptions import NotEnoughEventsError
from reprise.features.executors.plan_executor import PlanExecutor
from reprise.features.executors.state_fold import SNAPSHOT_TABLES, Snapshot, StateFold, write_snapshot
from reprise.features.plan import Plan
from reprise.features.training_rows import further_label, training_batch, training_schema
from reprise.runtime.durations import microseconds
from reprise.runtime.files import atomic_write
from reprise.runtime.logs import get_logger
from reprise.trainer.exceptions import RowsError
from reprise.trainer.settings import TrainerSettings

_log = get_logger(__name__)
_KEPT_SNAPSHOTS = 2
_MAX_FOLDED_SHARE = 0.3
"""Share of the events above which SQL computes all rows: to fold an event takes about three times as long."""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """How many whole days of rows were in the cache, and how many were computed."""

    cached: int
    computed: int

    def __str__(self) -> str:
        return f"{self.cached:,} days from the cache, {self.computed:,} computed"


@dataclass(frozen=True, slots=True)
class _Day:
    start_us: int
    digest: str  # Of the plan, and of all events until the end of the day
    events: int  # Number of events that make features

    @property
    def end_us(self) -> int:
        return self.start_us + MICROSECONDS_PER_DAY

    @property
    def name(self) -> str:
        date = datetime.fromtimestamp(self.start_us // 1_000_000, UTC).date()
        return f"{date.isoformat()}-{self.digest[:16]}"


@contextmanager
def cached_rows(
    cache: Path,
    events: Path,
    folder: Path,
    plan: Plan,
    settings: TrainerSettings,
    open_executor: Callable[..., PlanExecutor],
    build: Callable[[Path], object],
) -> Iterator[tuple[list[Path], CacheUse]]:
    """Return the files of all labelled rows in order of time, and how many days were in the cache.

    Within the block no other training changes the files.

    Args:
        cache: The directory of the cache, of one history and plan; files of others are removed from it.
        events: Canonical Parquet of distinct events.
        folder: For temporary files.
        plan: The plan of the rows.
        settings: Horizons, refund window and memory limit.
        open_executor: Computes the states after the first days, as ``build`` their rows.
        build: Writes the rows of all events, as ``build_training_rows`` does.

    Raises:
        RowsError: The directory or the temporary folder cannot be read or written.
        FeatureEngineError: The rows cannot be computed.
    """
    cache = cache.expanduser()
    with ExitStack() as resources:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            _lock(resources.enter_context((cache / "lock").open("w")), cache)
            found = _RowsCache(cache, events, folder, plan, settings).update(open_executor, build)
        except (OSError, duckdb.IOException) as error:
            raise RowsError(f"the directory {cache} of --rows-cache: {sql.first_line(error)}") from error
        yield found


def _lock(file: IO[str], cache: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _log.info("waits_for_another_training", rows_cache=str(cache))
        fcntl.flock(file, fcntl.LOCK_EX)


class _RowsCache:
    def __init__(
        self, cache: Path, events: Path, folder: Path, plan: Plan, settings: TrainerSettings
    ) -> None:
        self._cache, self._events, self._folder = cache, events, folder
        self._plan, self._settings = plan, settings
        self._schema = training_schema(plan, questions=True, further=settings.further_horizons)
        self._days, last_us = _scan_days(events, plan, settings.memory_limit)
        self._refund_us = microseconds(settings.refund_window)
        self._last_event_us = last_us
        self._last_us = last_us - microseconds(settings.label_span)  # Of the last row with a label
        self._whole = [day for day in self._days if day.events and day.end_us <= self._last_us + 1]
        self._horizons = {"label": microseconds(settings.default_horizon)} | {
            further_label(each): microseconds(each) for each in settings.further_horizons
        }
        self._files = {
            day: cache / f"rows-{day.name}-{self._label_digest(day)}.parquet" for day in self._whole
        }
        self._rest = folder / "rest.parquet"  # The labelled rows after the last whole day

    def update(
        self, open_executor: Callable[..., PlanExecutor], build: Callable[[Path], object]
    ) -> tuple[list[Path], CacheUse]:
        """Compute what is missing; return the files of all labelled rows, and their origin."""
        if not self._whole:
            rows = self._folder / "rows.parquet"
            build(rows)
            self._remove_others()
            return [rows], CacheUse(0, 0)
        sources = {day: found for day in self._whole if (found := self._find(day)) is not None}
        missing = [day for day in self._whole if day not in sources]
        first = missing[0].start_us if missing else self._last_us
        base = next((d for d in reversed(self._whole) if d.start_us < first and self._has_states(d)), None)
        if base is None or self._is_cheaper_in_sql(base):
            self._rebuild(open_executor, build)
            sources.clear()
        else:
            self._fold(base, sources)
        self._remove_others()
        return [*self._files.values(), self._rest], CacheUse(len(sources), len(self._whole) - len(sources))

    def _find(self, day: _Day) -> Path | None:
        """Return the file of a day's rows, whose labels may be of other events."""
        file = self._files[day]
        return file if file.exists() else next(self._cache.glob(f"rows-{day.name}-*.parquet"), None)

    def _label_digest(self, day: _Day) -> str:
        """Return a digest of all that the labels of a day depend on."""
        known_us = day.end_us - 1 + max(self._horizons.values()) + self._refund_us
        last = self._days[bisect_right(self._days, known_us, key=lambda each: each.start_us) - 1]
        return _digest(self._horizons, self._refund_us, last.digest, min(known_us, self._last_event_us))[:16]

    def _snapshot(self, day: _Day) -> Snapshot:
        files = {name: self._cache / f"states-{day.name}-{name}.parquet" for name in SNAPSHOT_TABLES}
        return Snapshot(day.end_us, files)

    def _has_states(self, day: _Day) -> bool:
        return all(path.exists() for path in self._snapshot(day).files.values())

    def _is_cheaper_in_sql(self, base: _Day) -> bool:
        counts = np.array([day.events for day in self._days])
        later = np.array([base.end_us <= day.start_us <= self._last_us for day in self._days])
        return bool(counts[later].sum() > _MAX_FOLDED_SHARE * counts.sum())

    def _rebuild(self, open_executor: Callable[..., PlanExecutor], build: Callable[[Path], object]) -> None:
        rows = self._folder / "rows.parquet"
        by_start = {day.start_us: self._files[day] for day in self._whole}
        build(rows)
        for start_us, pieces in groupby(_pieces_by_day(rows), key=lambda piece: piece[0]):
            if start_us in by_start:
                self._write(by_start.pop(start_us), (piece for _, piece in pieces))
        rest = pc.field("timestamp") >= _instant(self._whole[-1].end_us)
        labelled = pq.read_table(rows, filters=rest & pc.field("label").is_valid())
        self._write(self._rest, labelled.to_batches())
        for file in by_start.values():  # Days with events of erased users only
            self._write(file, [])
        rows.unlink()
        last = self._whole[-1]
        with open_executor(
            self._plan, memory_limit=self._settings.memory_limit, temp_directory=self._folder
        ) as executor:
            executor.load_events(self._events, before_us=last.end_us)
            write_snapshot(executor, self._plan, self._snapshot(last))

    def _fold(self, base: _Day, sources: Mapping[_Day, Path]) -> None:
        unlabelled = {self._files[day]: found for day, found in sources.items() if found != self._files[day]}
        with StateFold(
            self._plan, memory_limit=self._settings.memory_limit, temp_directory=self._folder
        ) as fold:
            window_us = microseconds(self._settings.label_span)
            fold.load_rows(self._events, self._snapshot(base), window_us, self._refund_us)
            folded: list[_Day] = []
            for day in self._whole:
                if day.start_us > base.start_us:
                    rows = self._folder / f"{day.name}.parquet"
                    self._write_folded(fold, rows, day.end_us)
                    fold.advance(self._snapshot(day))
                    unlabelled[self._files[day]] = rows
                    folded.append(day)
                    if len(folded) > _KEPT_SNAPSHOTS:
                        self._snapshot(folded.pop(0)).remove()
            rest = self._folder / "unlabelled-rest.parquet"
            self._write_folded(fold, rest, self._last_us + 1)
            unlabelled[self._rest] = rest
            first = min(
                (day.start_us for day in sources if self._files[day] in unlabelled), default=base.end_us
            )
            if first < base.end_us:
                fold.load_since(self._events, self._refund_us, first)
            labels = fold.labels(
                list(unlabelled.values()), self._horizons, self._last_event_us - self._refund_us
            )
        for target, source in unlabelled.items():
            table = pq.read_table(source)
            own, labels = labels.slice(0, len(table)), labels.slice(len(table))
            for name in own.column_names:
                kept = [column for column in table.column_names if column != name]
                table = table.select(kept).append_column(name, own[name])
            self._write(target, table.select(self._schema.names).to_batches())

    def _write_folded(self, fold: StateFold, path: Path, end_us: int) -> None:
        rows = fold.fold_until(end_us)
        self._write(path, (training_batch(batch, inputs, self._plan, self._schema) for batch, inputs in rows))

    def _write(self, path: Path, batches: Iterator[pa.RecordBatch] | list[pa.RecordBatch]) -> None:
        with (
            atomic_write(path) as partial,
            pq.ParquetWriter(partial, self._schema, compression="zstd") as writer,
        ):
            for batch in batches:
                writer.write_batch(batch.cast(self._schema))

    def _remove_others(self) -> None:
        """Remove what no run with this history would read, and what interrupted runs left."""
        kept = [day for day in self._whole if self._has_states(day)][-_KEPT_SNAPSHOTS:]
        used = {*self._files.values(), *(path for day in kept for path in self._snapshot(day).files.values())}
        for pattern in (
            "rows-*.parquet",
            "states-*.parquet",
            ".rows-*.partial.parquet",
            ".states-*.partial.parquet",
        ):
            for path in self._cache.glob(pattern):
                if path not in used:
                    path.unlink()


def _scan_days(events: Path, plan: Plan, memory_limit: str) -> tuple[list[_Day], int]:
    """Return the days that have events, in order, and the instant of the last event that makes features."""
    types = ", ".join(map(sql.literal, plan.frames))
    content = 'hash(event_id, user_id, product_id, event_type, "timestamp", amount)'
    with sql.connect(memory_limit=memory_limit, temp_directory=events.parent) as connection:
        found = connection.execute(
            f"""
            SELECT epoch_us("timestamp") // {MICROSECONDS_PER_DAY} AS day, count(*), bit_xor({content}),
                   sum({content}), count(*) FILTER (event_type IN ({types})),
                   max(epoch_us("timestamp")) FILTER (event_type IN ({types}))
            FROM read_parquet(?) GROUP BY day ORDER BY day
            """,
            [str(events)],
        ).fetchall()
    instants = [last for *_, last in found if last is not None]
    if not instants:
        raise NotEnoughEventsError(f"no event is of a type that makes features: {types}")
    digest, days = _digest(_engine_digest(), duckdb.__version__, plan.hash), []
    for day, *content_of_day, count, _ in found:
        digest = _digest(digest, day, [str(each) for each in content_of_day])
        days.append(_Day(day * MICROSECONDS_PER_DAY, digest, count))
    return days, max(instants)


def _engine_digest() -> str:
    """Return a digest of the code that computes rows, states and labels."""
    folder = Path(reprise.features.__path__[0])
    sources = [*sorted(folder.rglob("*.py")), Path(__file__)]
    return _digest(*(hashlib.sha256(source.read_bytes()).hexdigest() for source in sources))


def _pieces_by_day(rows: Path) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield ordered rows in pieces of one day, each with the start of its day."""
    for batch in pq.ParquetFile(rows).iter_batches():
        days = batch.column("timestamp").cast(pa.int64()).to_numpy() // MICROSECONDS_PER_DAY
        starts = np.flatnonzero(np.diff(days, prepend=days[:1] - 1))
        for start, end in zip(starts, [*starts[1:], len(days)], strict=True):
            yield int(days[start]) * MICROSECONDS_PER_DAY, batch.slice(start, end - start)


def _instant(us: int) -> pa.Scalar:
    return pa.scalar(us, pa.timestamp("us", "UTC"))


def _digest(*parts: object) -> str:
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()
