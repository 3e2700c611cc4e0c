"""Events and predictions of the offline store as Parquet files of one run, read in batches of bounded size."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from reprise import sql
from reprise.archive import ERASED, OfflineStore, SegmentGoneError, prepend_history, write_events
from reprise.event_files.importer import import_events
from reprise.events import InvalidEventError, is_canary, parse_timestamp
from reprise.log import PREDICTIONS
from reprise.outcomes.exceptions import NothingArchivedError
from reprise.outcomes.settings import OutcomesSettings
from reprise.runtime.durations import EPOCH, microseconds

PREDICTION_SCHEMA = pa.schema(
    [
        pa.field("row_id", pa.int64(), nullable=False),
        pa.field("answered_us", pa.int64(), nullable=False),
        pa.field("timestamp_us", pa.int64(), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("event_id", pa.string()),
        pa.field("amount", pa.float64()),
        pa.field("event_type", pa.string()),
        pa.field("probability", pa.float64(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("arm", pa.string(), nullable=False),
        pa.field("shadow", pa.bool_(), nullable=False),
        pa.field("features", pa.string(), nullable=False),
    ]
)
"""Instants in microseconds since 1970-01-01 UTC; the features are a JSON object of numbers and nulls."""


@dataclass(frozen=True, slots=True)
class ArchiveSnapshot:
    """The archived events and predictions that a run evaluates."""

    # Parquet of the events in order of arrival, with duplicates; ``arrival`` is null for a history from
    # before the log
    events: Path
    predictions: Path  # Parquet of ``PREDICTION_SCHEMA``
    prediction_count: int  # Number of predictions
    broken: int  # Records of the predictions topic that are not valid predictions
    missing: int  # Records of it that were lost before they were archived
    # Everything that happened until then is archived, microseconds since 1970-01-01 UTC
    complete_until_us: int
    other_horizons: int = 0  # Predictions for further horizons, which are left out


def take_snapshot(
    settings: OutcomesSettings, folder: Path, advance: Callable[[int], object] = lambda _: None
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
    count, broken, missing, other_horizons = _write_predictions(
        store, predictions, newest_us - microseconds(settings.lookback), advance
    )
    if count == 0:
        others = f", besides {other_horizons:,} for further horizons" if other_horizons else ""
        raise NothingArchivedError(
            f"{store.url} has no predictions of the last {settings.lookback.days} days{others}"
        )
    events = arrivals
    if settings.events is not None:
        imported, events = folder / "history.parquet", folder / "history-and-arrivals.parquet"
        import_events(settings.events, imported, memory_limit=settings.memory_limit, temp_directory=folder)
        prepend_history(imported, arrivals, events, settings.memory_limit)
    complete_until_us = newest_us - microseconds(settings.lateness)
    return ArchiveSnapshot(events, predictions, count, broken, missing, complete_until_us, other_horizons)


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
    store: OfflineStore, path: Path, since_us: int, advance: Callable[[int], object]
) -> tuple[int, int, int, int]:
    """Write the predictions since the day of an instant; return how many are valid, broken, missing and left out."""
    coverages = store.coverage(PREDICTIONS.name)
    # an accepted gap from the beginning is what retention removed
    accepted = (gap for coverage in coverages for gap in coverage.accepted if gap.first > 0)
    missing = sum(gap.records for gap in (*(gap for c in coverages for gap in c.gaps), *accepted))
    first_day = (EPOCH + timedelta(microseconds=since_us)).date()
    parts = [part for coverage in coverages for listed in coverage.parts.values() for part in listed]
    count = broken = others = 0
    with pq.ParquetWriter(path, PREDICTION_SCHEMA, compression="zstd") as writer:
        for part in parts:
            if part.segment.date < first_day:
                continue
            for batch in store.read(part):
                rows, refused, other = prediction_batch(batch, count)
                count, broken, others = count + rows.num_rows, broken + refused, others + other
                writer.write_batch(rows)
                advance(batch.num_rows)
    store.require_same_erasures()
    return count, broken, missing, others


def prediction_batch(batch: pa.RecordBatch, first_row: int) -> tuple[pa.RecordBatch, int, int]:
    """Return the predictions of a batch of archived records, and how many are invalid and of further horizons.

    A valid record is a prediction of version 1, see ``docs/schemas``. Predictions for further horizons are left out,
    because arms are compared by the outcomes of their models' own horizon. Those for canaries and erased ones are left
    out too, uncounted. The first prediction gets the number ``first_row``.
    """
    texts = batch.filter(pc.fill_null(pc.not_equal(batch.column("problem"), ERASED), True))["prediction"]
    rows = [None if text is None else _row(orjson.loads(text)) for text in texts.to_pylist()]
    readable = [row for row in rows if row is not None]
    people = [row for row in readable if not is_canary(row["user_id"])]
    kept = [row for row in people if row["horizon_seconds"] is None]
    for number, row in enumerate(kept, first_row):
        row["row_id"] = number
    found = pa.RecordBatch.from_pylist(kept, PREDICTION_SCHEMA)
    return found, len(rows) - len(readable), len(people) - len(kept)


def _row(record: dict[str, Any]) -> dict[str, Any] | None:
    try:
        if record["schema_version"] != 1 or not 0.0 <= record["probability"] <= 1.0:
            return None
        return {
            "answered_us": parse_timestamp(record["answered_at"]),
            "timestamp_us": parse_timestamp(record["timestamp"]),
            "user_id": _text(record["user_id"]),
            "product_id": _text(record["product_id"]),
            "event_id": None if record.get("event_id") is None else _text(record["event_id"]),
            "amount": record["amount"],
            "event_type": None if record["event_type"] is None else _text(record["event_type"]),
            "probability": float(record["probability"]),
            "digest": _text(record["model_version"]),
            "arm": _text(record["arm"]),
            "shadow": bool(record.get("shadow", False)),
            "features": orjson.dumps(record["features"]).decode(),
            "horizon_seconds": record.get("horizon_seconds"),  # Absent before bundles had further horizons
        }
    except (KeyError, TypeError, InvalidEventError):
        return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
