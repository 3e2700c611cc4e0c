"""Events and predictions of the offline store as Parquet files of one run, read in batches of bounded size."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from reprise import sql
from reprise.archive import OfflineStore, SegmentGoneError, prepend_history, write_events
from reprise.event_files.importer import import_events
from reprise.log import PREDICTIONS
from reprise.outcomes.exceptions import NothingArchivedError
from reprise.outcomes.settings import OutcomesSettings
from reprise.outcomes.tables.prediction_records import PREDICTION_SCHEMA, prediction_batch
from reprise.runtime.durations import microseconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ArchiveSnapshot:
    """The archived events and predictions that a run evaluates.

    Attributes:
        events: Parquet of the events in order of arrival, with duplicates; ``arrival`` is null for a history from
            before the log.
        predictions: Parquet of ``PREDICTION_SCHEMA``.
        prediction_count: Number of predictions.
        broken: Records of the predictions topic that are not valid predictions.
        missing: Records of it that were lost before they were archived.
        complete_until_us: Everything that happened until then is archived, microseconds since 1970-01-01 UTC.
    """

    events: Path
    predictions: Path
    prediction_count: int
    broken: int
    missing: int
    complete_until_us: int


def take_snapshot(
    settings: OutcomesSettings, folder: Path, advance: Callable[[int], None] | None = None
) -> ArchiveSnapshot:
    """Write the archived events and predictions into a folder; ``advance`` is called with the records read since.

    Raises:
        NothingArchivedError: There are no predictions.
        OfflineStoreError: There are no events, records are missing before others, or the store cannot be read.
        EventFilesError: The history cannot be read.
    """
    store = OfflineStore(settings.offline_store)
    arrivals, predictions = folder / "arrivals.parquet", folder / "predictions.parquet"
    write_events(store, arrivals, order="arrival", memory_limit=settings.memory_limit, advance=advance)
    newest_us = _newest_arrival_us(arrivals)
    count, broken, missing = _write_predictions(
        store, predictions, newest_us - microseconds(settings.lookback), advance
    )
    if count == 0:
        raise NothingArchivedError(
            f"{store.url} has no predictions of the last {settings.lookback.days} days"
        )
    events = arrivals
    if settings.events is not None:
        imported, events = folder / "history.parquet", folder / "history-and-arrivals.parquet"
        import_events(settings.events, imported, memory_limit=settings.memory_limit, temp_directory=folder)
        prepend_history(imported, arrivals, events, settings.memory_limit)
    complete_until_us = newest_us - microseconds(settings.lateness)
    return ArchiveSnapshot(events, predictions, count, broken, missing, complete_until_us)


def _newest_arrival_us(arrivals: Path) -> int:
    with sql.connect() as connection:
        [(newest_us,)] = connection.execute(
            f"SELECT max(epoch_us(arrival)) FROM read_parquet({sql.literal(arrivals)})"
        ).fetchall()
    if newest_us is None:
        raise NothingArchivedError("no archived record is a valid event")
    return int(newest_us)


# A compaction may replace a segment between its listing and its reading.
@retry(retry=retry_if_exception_type(SegmentGoneError), stop=stop_after_attempt(5), reraise=True)
def _write_predictions(
    store: OfflineStore, path: Path, since_us: int, advance: Callable[[int], None] | None
) -> tuple[int, int, int]:
    """Write the predictions since the day of an instant; return how many are valid, broken and missing."""
    coverages = store.coverage(PREDICTIONS.name)
    missing = sum(gap.records for coverage in coverages for gap in (*coverage.gaps, *coverage.accepted))
    first_day = (_EPOCH + timedelta(microseconds=since_us)).date()
    parts = [part for coverage in coverages for listed in coverage.parts.values() for part in listed]
    count = broken = 0
    with pq.ParquetWriter(path, PREDICTION_SCHEMA, compression="zstd") as writer:
        for part in parts:
            if part.segment.date < first_day:
                continue
            for batch in store.read(part):
                rows, refused = prediction_batch(batch, count)
                count, broken = count + rows.num_rows, broken + refused
                writer.write_batch(rows)
                if advance is not None:
                    advance(batch.num_rows)
    return count, broken, missing
