"""The labelled rows of a history, in memory: one float32 matrix and a few columns next to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from reprise import sql
from reprise.evaluation.poisson_gamma import PastPurchases
from reprise.evaluation.time_split import Span
from reprise.features.sampled_requests import ASKED
from reprise.features.training_rows import further_label
from reprise.runtime.durations import format_duration
from reprise.trainer.data.labelled_rows import LabelledRows, too_few_labels
from reprise.trainer.exceptions import RowsError, TrainingRefusedError, TruthError
from reprise.trainer.settings import TrainerSettings

_BATCH_ROWS = 65_536
_PAST = [field.name for field in fields(PastPurchases)]
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Dataset(LabelledRows):
    """Rows of pairs, labelled by whether the user bought the product, in time order."""

    repeat_candidates: npt.NDArray[np.bool_]  # Whether the pair has an earlier purchase
    recency_days: npt.NDArray[np.float64]  # Days since the pair's last purchase; NaN if there is none
    asked: npt.NDArray[np.int8]  # When the row is asked: its place in ``ASKED``
    # The generator's own probability of the label, if known; NaN for idle rows
    truth: npt.NDArray[np.float64] | None
    past: PastPurchases  # Read by the baselines
    # Texts by member of the metadata that slices are by; None where an event lacks it or there is no event
    metadata: Mapping[str, npt.NDArray[np.object_]] = field(default_factory=dict)
    # Labels by further horizon; false where that is not over yet, which is after the end of its split
    further: Mapping[timedelta, npt.NDArray[np.bool_]] = field(default_factory=dict)

    def of_horizon(self, horizon: timedelta) -> "Dataset":
        """Return the rows with the labels of a further horizon, whose truth is not known."""
        return replace(self, labels=self.further[horizon], truth=None, further={})

    @property
    def at_events(self) -> "Dataset":
        """The rows that are asked at an event, before it is stored."""
        return self.subset(self.are_at_events)

    @property
    def are_at_events(self) -> npt.NDArray[np.bool_]:
        """Whether each row is asked at an event, before it is stored."""
        before: npt.NDArray[np.bool_] = self.asked == ASKED.index("before")
        return before

    def sample(self, rows: int, seed: int) -> "Dataset":
        """Return at most that many rows, a uniform sample by the seed, still in time order."""
        return self if len(self) <= rows else self.subset(_sampled_positions(len(self), rows, seed))


def load_dataset(
    rows: Sequence[Path],
    events: Path,
    input_names: tuple[str, ...],
    purchase_type: str,
    settings: TrainerSettings,
) -> tuple[Dataset, int]:
    """Return the labelled rows, sampled uniformly if there are too many, and the number of labelled rows.

    Args:
        rows: Parquet written by ``build_training_rows``, in one file or in several in order of time.
        events: The canonical Parquet of its events; DuckDB spills next to it.
        input_names: The plan's inputs, in order.
        purchase_type: The type of the events that are predicted.
        settings: Further horizons, members of the metadata, truth, maximum rows, seed and memory limit.

    Raises:
        RowsError: The rows lack an input of the plan, or hold a number beyond float32.
        TruthError: The truth file lacks a column or an event, or holds something that is no probability.
        TrainingRefusedError: No row has a label, or no event has one of the members.
    """
    for path in rows:
        missing = set(input_names).difference(pq.read_schema(path).names)
        if missing:
            raise RowsError(f"{path}: the plan's input {min(missing)} is missing ({len(missing)} in all)")
    columns = _read_columns(rows, events, purchase_type, settings)
    labelled = np.flatnonzero(columns["labelled"])
    if len(labelled) == 0:
        raise TrainingRefusedError(
            "no event is old enough to know what followed it within the horizon",
            "a longer history, or a shorter --horizon",
        )
    kept, truth = labelled, settings.truth
    if len(labelled) > settings.max_rows:
        kept = labelled[_sampled_positions(len(labelled), settings.max_rows, settings.seed)]
    if truth is not None:
        at_events = kept[columns["asked"][kept] != ASKED.index("idle")]
        _check_probabilities(truth, columns["truth"][at_events], columns["event_id"], at_events)
    dataset = Dataset(
        inputs=_read_inputs(rows, input_names, kept),
        labels=columns["label"][kept],
        timestamps_us=columns["timestamp_us"][kept],
        repeat_candidates=columns["repeat_candidate"][kept],
        recency_days=columns["recency_days"][kept],
        users=columns["user"][kept],
        asked=columns["asked"][kept],
        truth=columns["truth"][kept] if truth is not None else None,
        past=PastPurchases(*(columns[name][kept] for name in _PAST)),
        metadata={name: columns[f"metadata {name}"][kept] for name in settings.slices},
        further={each: columns[further_label(each)][kept] for each in settings.further_horizons},
    )
    if (np.diff(dataset.timestamps_us) < 0).any():
        raise RowsError(f"{rows[0]}: the rows are not in the order of their timestamps")
    return dataset, len(labelled)


def check_labels(
    dataset: Dataset, train: Span, calibration: Span, evaluation: Span, horizon: timedelta
) -> None:
    """Raise ``TrainingRefusedError`` if a span has too few rows of one label."""
    spans = {
        "training": dataset.within(train).at_events,
        "calibration": dataset.within(calibration).at_events,
        "evaluation": dataset.within(evaluation).at_events,
    }
    within = format_duration(horizon)
    rows = sum(map(len, spans.values()))
    positives = sum(part.positives for part in spans.values())
    if rows and positives == 0:
        raise TrainingRefusedError(
            f"only one class: in none of {rows:,} rows did the user buy the product within {within}",
            "a longer --horizon, more history, or a check of whether the file's purchases have the event type of the"
            " plan (purchase by default: --event-type purchase=VALUE)",
        )
    if rows and positives == rows:
        raise TrainingRefusedError(
            f"only one class: in all of {rows:,} rows the user bought the product within {within}",
            "a shorter --horizon, or events of users who do not buy",
        )
    if (problem := too_few_labels(spans, horizon)) is not None:
        raise TrainingRefusedError(
            f"too few labels: {problem}", "more events, a longer history, or another --horizon"
        )


def check_truth_file(truth: Path) -> None:
    """Check the columns of a file of true probabilities, before any long work.

    Raises:
        TruthError: There is no such file, it cannot be read, or a column is missing.
    """
    with sql.connect() as connection:
        _truth_relation(connection, truth)


def _sampled_positions(total: int, rows: int, seed: int) -> npt.NDArray[np.int64]:
    return np.sort(np.random.default_rng(seed).choice(total, rows, replace=False))


def _read_columns(
    rows: Sequence[Path], events: Path, purchase_type: str, settings: TrainerSettings
) -> dict[str, npt.NDArray[Any]]:
    members = ", ".join(
        f'json_extract_string(e.metadata, \'$."{name}"\') AS "metadata {name}"' for name in settings.slices
    )
    labels = [further_label(each) for each in settings.further_horizons]
    others = "".join(f"coalesce(r.{name}, false) AS {name}, " for name in labels)
    with sql.connect(memory_limit=settings.memory_limit, temp_directory=events.parent) as connection:
        join, column = "", "CAST(NULL AS DOUBLE)"
        if settings.truth is not None:
            _create_truth_table(connection, settings.truth)
            join, column = "LEFT JOIN truth ON truth.event_id = r.event_id", "truth.probability"
        if settings.slices:
            join += " LEFT JOIN read_parquet($events) e ON e.event_id = r.event_id"
        result = connection.sql(
            f"""
            WITH purchases AS (
                SELECT
                    user_id, product_id, timestamp, CAST(coalesce(amount, 0) AS DOUBLE) AS amount,
                    row_number() OVER (PARTITION BY user_id, product_id ORDER BY timestamp, event_id) AS number
                FROM read_parquet($events) WHERE event_type = $purchase_type
            ), pairs AS (
                SELECT
                    user_id, product_id, timestamp, count(*) OVER pair AS count, sum(amount) OVER pair AS spend,
                    min(timestamp) OVER pair AS first
                FROM purchases WINDOW pair AS (PARTITION BY user_id, product_id ORDER BY timestamp)
            ), products AS (
                SELECT
                    product_id, timestamp,
                    count(*) FILTER (number = 1) OVER sold AS customers,
                    count(*) FILTER (number = 2) OVER sold AS repeat_customers,
                    count(*) FILTER (number > 1) OVER sold AS repeats,
                    sum(epoch_us(timestamp) / 86400e6) FILTER (number = 1) OVER sold AS first_days
                FROM purchases WINDOW sold AS (PARTITION BY product_id ORDER BY timestamp)
            )
            SELECT
                r.label IS NOT NULL AS labelled,
                coalesce(r.label, false) AS label,
                epoch_us(r.timestamp) AS timestamp_us,
                coalesce(r.repeat_candidate, false) AS repeat_candidate,
                (epoch_us(r.timestamp) - epoch_us(p.timestamp)) / 86400e6 AS recency_days,
                p.count, p.spend, q.customers, q.repeat_customers, q.repeats,
                (epoch_us(r.timestamp) - epoch_us(p.first)) / 86400e6 AS since_first,
                q.customers * (epoch_us(r.timestamp) / 86400e6) - q.first_days AS customer_days,
                {column} AS truth,
                r.event_id AS event_id,
                r.user_id AS user_id,
                list_position({list(ASKED)}, r.asked) - 1 AS asked,
                {others}{members}
            FROM (SELECT *, file_index FROM read_parquet($rows, file_row_number = true)) r
            ASOF LEFT JOIN pairs p
                ON r.user_id = p.user_id AND r.product_id = p.product_id AND r.timestamp > p.timestamp
            ASOF LEFT JOIN products q ON r.product_id = q.product_id AND r.timestamp > q.timestamp
            {join}
            ORDER BY r.file_index, r.file_row_number
            """,
            params={"rows": list(map(str, rows)), "events": str(events), "purchase_type": purchase_type},
        ).to_arrow_table()
    columns = {
        name: result[name].to_numpy()
        for name in ("labelled", "label", "timestamp_us", "repeat_candidate", *labels)
    }
    for name in ("recency_days", "truth", *_PAST):
        columns[name] = result[name].cast("float64").to_numpy()
    columns["asked"] = result["asked"].to_numpy().astype(np.int8)
    columns["event_id"] = result["event_id"]
    for name in settings.slices:
        texts = result[f"metadata {name}"]
        if texts.null_count == len(texts):
            raise TrainingRefusedError(
                f"--slice-by {name}: no event has this member of the metadata",
                f"a file with a column {name}, or a producer and an archiver that keep it (REPRISE_METADATA_FIELDS)",
            )
        columns[f"metadata {name}"] = texts.to_numpy()
    # encoded first: the ids themselves may be more than one Arrow string array can hold
    users = result["user_id"].dictionary_encode().combine_chunks()
    columns["user"] = users.indices.to_numpy().astype(np.int64)
    return columns


def _truth_relation(connection: Any, truth: Path) -> str:
    if not truth.is_file():
        raise TruthError(f"{truth}: no such file")
    reader = "read_parquet" if truth.suffix.lower() in (".parquet", ".pq") else "read_csv"
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {reader}($1)", [str(truth)]).fetchall()
    except duckdb.Error as error:
        raise TruthError(f"{truth}: {sql.first_line(error)}") from None
    columns = [row[0] for row in described]
    lacking = [name for name in ("event_id", "probability") if name not in columns]
    if lacking:
        raise TruthError(f"{truth}: no column {lacking[0]}; the file has {', '.join(columns)}")
    return f"{reader}($1)"


def _create_truth_table(connection: Any, truth: Path) -> None:
    relation = _truth_relation(connection, truth)
    try:
        connection.execute(
            "CREATE TABLE truth AS SELECT CAST(event_id AS VARCHAR) AS event_id, "
            f"CAST(probability AS DOUBLE) AS probability FROM {relation}",
            [str(truth)],
        )
        repeated = connection.execute(
            "SELECT event_id FROM truth GROUP BY event_id HAVING count(*) > 1 ORDER BY event_id LIMIT 1"
        ).fetchone()
    except duckdb.Error as error:
        raise TruthError(f"{truth}: {sql.first_line(error)}") from None
    if repeated is not None:
        raise TruthError(f"{truth}: event_id {repeated[0]} occurs more than once")


def _check_probabilities(
    truth: Path, probabilities: npt.NDArray[np.float64], event_ids: Any, kept: npt.NDArray[np.int64]
) -> None:
    absent = np.flatnonzero(np.isnan(probabilities))
    if len(absent):
        raise TruthError(
            f"{truth}: no probability for {len(absent):,} of {len(kept):,} events, for instance"
            f" {event_ids[int(kept[absent[0]])]}; was it generated with these events?"
        )
    outside = np.flatnonzero((probabilities < 0) | (probabilities > 1))
    if len(outside):
        raise TruthError(
            f"{truth}: event {event_ids[int(kept[outside[0]])]} has the probability {probabilities[outside[0]]:g}"
        )


def _read_inputs(
    files: Sequence[Path], names: tuple[str, ...], kept: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return the kept rows as float32; column-major, because trees read one input of many rows."""
    matrix = np.empty((len(kept), len(names)), dtype=np.float32, order="F")
    read = filled = 0
    batches = (pq.ParquetFile(file).iter_batches(_BATCH_ROWS, columns=list(names)) for file in files)
    for batch in chain.from_iterable(batches):
        end = int(np.searchsorted(kept, read + batch.num_rows))
        local = kept[filled:end] - read
        for position, name in enumerate(names):
            values = batch.column(name).cast("float64").to_numpy(zero_copy_only=False)[local]
            if (np.abs(values) > _FLOAT32_MAX).any():
                raise RowsError(f"input {name}: {np.nanmax(np.abs(values)):g} is beyond float32")
            matrix[filled:end, position] = values
        read, filled = read + batch.num_rows, end
    return matrix
