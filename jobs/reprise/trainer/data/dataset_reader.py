"""Reading training rows, column by column, with the truth and the recency of each beside them."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from reprise import sql
from reprise.trainer.data.dataset import TrainingTable, sampled_positions
from reprise.trainer.exceptions import RowsError, TrainingRefusedError, TruthError

_BATCH_ROWS = 65_536
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def load_table(
    rows: Path,
    events: Path,
    truth: Path | None,
    input_names: tuple[str, ...],
    *,
    max_rows: int,
    seed: int,
    memory_limit: str,
) -> tuple[TrainingTable, int]:
    """Return the labelled rows, at most ``max_rows`` of them, and how many labelled rows there were.

    Args:
        rows: Parquet that ``build_training_rows`` wrote.
        events: The canonical Parquet of the events behind it.
        truth: CSV or Parquet with ``event_id`` and ``probability``.
        input_names: The plan's inputs, in order.
        max_rows: Beyond it, rows are sampled evenly by the seed.
        seed: Of that sample.
        memory_limit: What DuckDB may hold in memory; the rest spills next to ``rows``.

    Raises:
        RowsError: The rows lack an input of the plan, or hold a number that float32 cannot.
        TruthError: The file of the truth lacks a column or an event, or holds no probability.
        TrainingRefusedError: No row has a label.
    """
    file = pq.ParquetFile(rows)
    missing = [name for name in input_names if name not in file.schema_arrow.names]
    if missing:
        raise RowsError(f"{rows}: the plan's input {missing[0]} is missing ({len(missing)} in all)")
    beside = _read_beside(rows, events, truth, memory_limit)
    kept = _sampled(np.flatnonzero(beside["labelled"]), max_rows, seed)
    if truth is not None:
        _check_truth(truth, beside, kept)
    table = TrainingTable(
        inputs=_read_inputs(file, input_names, kept),
        labels=beside["label"][kept],
        timestamps_us=beside["timestamp_us"][kept],
        repeat_candidates=beside["repeat_candidate"][kept],
        recency_days=beside["recency_days"][kept],
        truth=beside["truth"][kept] if truth is not None else None,
    )
    if (np.diff(table.timestamps_us) < 0).any():
        raise RowsError(f"{rows}: the rows are not in the order of their timestamps")
    return table, int(np.count_nonzero(beside["labelled"]))


def _sampled(labelled: npt.NDArray[np.int64], max_rows: int, seed: int) -> npt.NDArray[np.int64]:
    if len(labelled) == 0:
        raise TrainingRefusedError(
            "no event is old enough to know what followed it within the horizon",
            "a longer history, or a shorter --horizon",
        )
    if len(labelled) <= max_rows:
        return labelled
    return labelled[sampled_positions(len(labelled), max_rows, seed)]


def _read_beside(
    rows: Path, events: Path, truth: Path | None, memory_limit: str
) -> dict[str, npt.NDArray[Any]]:
    """Return the columns beside the inputs, for all rows, in their order."""
    with sql.connect(memory_limit=memory_limit, temp_directory=rows.parent) as connection:
        join, column = "", "CAST(NULL AS DOUBLE)"
        if truth is not None:
            _stage_truth(connection, truth)
            join, column = "LEFT JOIN truth ON truth.event_id = r.event_id", "truth.probability"
        result = connection.sql(
            f"""
            SELECT
                r.label IS NOT NULL AS labelled,
                coalesce(r.label, false) AS label,
                epoch_us(r.timestamp) AS timestamp_us,
                coalesce(r.repeat_candidate, false) AS repeat_candidate,
                (epoch_us(r.timestamp) - epoch_us(p.timestamp)) / 86400e6 AS recency_days,
                {column} AS truth,
                r.event_id AS event_id
            FROM read_parquet($rows, file_row_number = true) r
            ASOF LEFT JOIN (
                SELECT user_id, product_id, timestamp FROM read_parquet($events) WHERE event_type = 'purchase'
            ) p ON r.user_id = p.user_id AND r.product_id = p.product_id AND r.timestamp > p.timestamp
            {join}
            ORDER BY r.file_row_number
            """,
            params={"rows": str(rows), "events": str(events)},
        ).to_arrow_table()
    beside = {
        name: result[name].to_numpy() for name in ("labelled", "label", "timestamp_us", "repeat_candidate")
    }
    for name in ("recency_days", "truth"):
        beside[name] = result[name].cast("float64").to_numpy()
    beside["event_id"] = result["event_id"]
    return beside


def check_truth_file(truth: Path) -> None:
    """Look at the columns of a file of true probabilities, before any long work.

    Raises:
        TruthError: There is no such file, it cannot be read, or a column is missing.
    """
    with sql.connect() as connection:
        _truth_relation(connection, truth)


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


def _stage_truth(connection: Any, truth: Path) -> None:
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


def _check_truth(truth: Path, beside: dict[str, npt.NDArray[Any]], kept: npt.NDArray[np.int64]) -> None:
    probabilities = beside["truth"][kept]
    absent = np.flatnonzero(np.isnan(probabilities))
    if len(absent):
        example = beside["event_id"][int(kept[absent[0]])].as_py()
        raise TruthError(
            f"{truth}: no probability for {len(absent):,} of {len(kept):,} events, for instance {example}; "
            "is it of the same run as the events?"
        )
    outside = np.flatnonzero((probabilities < 0) | (probabilities > 1))
    if len(outside):
        example = beside["event_id"][int(kept[outside[0]])].as_py()
        raise TruthError(f"{truth}: event {example} has the probability {probabilities[outside[0]]:g}")


def _read_inputs(
    file: pq.ParquetFile, names: tuple[str, ...], kept: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return the kept rows as float32; column-major, because trees read one input of many rows."""
    matrix = np.empty((len(kept), len(names)), dtype=np.float32, order="F")
    seen = filled = 0
    for batch in file.iter_batches(_BATCH_ROWS, columns=list(names)):
        end = int(np.searchsorted(kept, seen + batch.num_rows))
        local = kept[filled:end] - seen
        for position, name in enumerate(names):
            values = batch.column(name).cast("float64").to_numpy(zero_copy_only=False)[local]
            if (np.abs(values) > _FLOAT32_MAX).any():
                raise RowsError(f"input {name}: {np.nanmax(np.abs(values)):g} is beyond what float32 holds")
            matrix[filled:end, position] = values
        seen, filled = seen + batch.num_rows, end
    return matrix
