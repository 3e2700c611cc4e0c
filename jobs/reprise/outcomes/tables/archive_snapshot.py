"""Both topics of the offline store as Parquet files of this run, read in batches of bounded size."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reprise import sql
from reprise.archive import Coverage, OfflineStore, Part, SegmentGoneError, prepend_history, write_events
from reprise.event_files.importer import import_events
from reprise.log import PREDICTIONS
from reprise.outcomes.exceptions import NothingArchivedError
from reprise.outcomes.tables.prediction_records import PREDICTION_SCHEMA, prediction_batch
from reprise.runtime.durations import microseconds

_ATTEMPTS = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Gathered:
    """What is judged.

    Attributes:
        events: Parquet of the events in the order of arrival, duplicates included; ``arrival`` is null for a
            history from before the log.
        predictions: Parquet of ``PREDICTION_SCHEMA``.
        prediction_count: How many predictions there are.
        broken: How many records of the predictions' topic are no predictions.
        missing: How many records of it were lost before they were archived.
        complete_until_us: Everything that happened until then is archived.
    """

    events: Path
    predictions: Path
    prediction_count: int
    broken: int
    missing: int
    complete_until_us: int


def gather(
    store: OfflineStore,
    folder: Path,
    *,
    history: Path | None,
    lateness: timedelta,
    lookback: timedelta,
    memory_limit: str,
    advance: Callable[[int], None] | None = None,
) -> Gathered:
    """Write the archived events and predictions into a folder.

    Args:
        store: The offline store.
        folder: Where to write.
        history: Events from before the log began, CSV or Parquet.
        lateness: How much later than the newest archived event an event may yet be archived that came before it.
        lookback: How much older than the newest archived event the oldest prediction may be.
        memory_limit: What DuckDB may hold before it spills.
        advance: Called with the number of records read since the last call.

    Raises:
        NothingArchivedError: There are no predictions.
        OfflineStoreError: There are no events, records are missing before others, or the store cannot be read.
        EventFilesError: The history cannot be used.
    """
    arrivals, predictions = folder / "arrivals.parquet", folder / "predictions.parquet"
    write_events(store, arrivals, order="arrival", memory_limit=memory_limit, advance=advance)
    newest_us = _newest_arrival_us(arrivals)
    first_day = (_EPOCH + timedelta(microseconds=newest_us) - lookback).date()

    def recent(part: Part) -> bool:
        return part.segment.date >= first_day

    count, broken, missing = _write_predictions(store, predictions, recent, advance)
    if count == 0:
        raise NothingArchivedError(f"{store.url} has no predictions of the last {lookback.days} days")
    events = arrivals if history is None else _with_history(history, arrivals, folder, memory_limit)
    complete_until = newest_us - microseconds(lateness)
    return Gathered(events, predictions, count, broken, missing, complete_until)


def _newest_arrival_us(arrivals: Path) -> int:
    with sql.connect() as connection:
        found = connection.execute(
            f"SELECT max(epoch_us(arrival)) FROM read_parquet({sql.literal(arrivals)})"
        ).fetchall()
    if found[0][0] is None:
        raise NothingArchivedError("no archived record is a valid event")
    return int(found[0][0])


def _write_predictions(
    store: OfflineStore,
    path: Path,
    wanted: Callable[[Part], bool],
    advance: Callable[[int], None] | None,
) -> tuple[int, int, int]:
    for attempt in range(_ATTEMPTS):
        coverages = store.coverage(PREDICTIONS.name)
        missing = sum(
            hole.records for coverage in coverages for hole in (*coverage.holes, *coverage.accepted)
        )
        try:
            count, broken = _copy_predictions(store, coverages, path, wanted, advance)
        except SegmentGoneError:
            # a compaction has replaced what was listed, so it is listed anew
            if attempt + 1 == _ATTEMPTS:
                raise
        else:
            return count, broken, missing
    raise AssertionError("the last attempt returns or raises")


def _copy_predictions(
    store: OfflineStore,
    coverages: list[Coverage],
    path: Path,
    wanted: Callable[[Part], bool],
    advance: Callable[[int], None] | None,
) -> tuple[int, int]:
    count = broken = 0
    with pq.ParquetWriter(path, PREDICTION_SCHEMA, compression="zstd") as writer:
        for batch in _batches(store, coverages, wanted):
            rows, refused = prediction_batch(batch, count)
            count, broken = count + rows.num_rows, broken + refused
            writer.write_batch(rows)
            if advance is not None:
                advance(batch.num_rows)
    return count, broken


def _batches(
    store: OfflineStore, coverages: list[Coverage], wanted: Callable[[Part], bool]
) -> Iterator[pa.RecordBatch]:
    for coverage in coverages:
        for parts in coverage.parts.values():
            for part in filter(wanted, parts):
                yield from store.read(part)


def _with_history(history: Path, arrivals: Path, folder: Path, memory_limit: str) -> Path:
    imported, both = folder / "history.parquet", folder / "history-and-arrivals.parquet"
    import_events(history, imported, memory_limit=memory_limit, temp_directory=folder)
    prepend_history(imported, arrivals, both, memory_limit)
    return both
