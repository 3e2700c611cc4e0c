"""Training rows: one per event, computed at the event's instant, with its label."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from reprise.events.event import ERASED_PREFIX
from reprise.features.exceptions import FeatureEngineError
from reprise.features.executors.batch import BatchExecutor
from reprise.features.executors.plan_executor import PlanExecutor
from reprise.features.feature_functions import FloatArray
from reprise.features.labels import training_label
from reprise.features.plan import Plan
from reprise.runtime.durations import microseconds
from reprise.runtime.files import atomic_write

_TEXTS = ("event_id", "user_id", "product_id", "event_type")


@dataclass(frozen=True)
class TrainingRowsReport:
    """Counts of rows: all, with a label, with a true label, and with an earlier purchase of the pair."""

    rows: int
    labelled: int
    positive: int
    repeat_candidates: int

    def __str__(self) -> str:
        rate = self.positive / self.labelled if self.labelled else 0.0
        return (
            f"{self.rows:,} rows; {self.labelled:,} with their horizon over, of which {rate:.1%} bought again;"
            f" {self.repeat_candidates:,} after an earlier purchase of the same product"
        )


def further_label(horizon: timedelta) -> str:
    """Return the name of the column with the labels of a further horizon."""
    return f"label_{horizon // timedelta(seconds=1)}"


def training_schema(plan: Plan, *, questions: bool = False, further: Sequence[timedelta] = ()) -> pa.Schema:
    """Return the columns of training rows, in order; with sampled requests there is ``asked``."""
    texts = [(name, pa.string()) for name in _texts(questions)]
    numbers = [(name, pa.float64()) for name in ("amount", *plan.input_names)]
    flags = [(name, pa.bool_()) for name in ("label", "repeat_candidate", *map(further_label, further))]
    return pa.schema([*texts, ("timestamp", pa.timestamp("us", "UTC")), *numbers, *flags])


def training_batch(rows: pa.RecordBatch, inputs: FloatArray, plan: Plan, schema: pa.Schema) -> pa.RecordBatch:
    """Return rows and their inputs with the columns of ``training_schema``, without rows of erased users.

    The instant of a row is ``ts``. A column that the rows lack is null.
    """
    kept = pc.invert(pc.starts_with(rows.column("user_id"), ERASED_PREFIX))
    rows, inputs = rows.filter(kept), inputs[kept.to_numpy(zero_copy_only=False)]
    found = {name: rows.column(name) for name in rows.schema.names}
    found["timestamp"] = found["ts"]
    found |= {
        name: pa.array(column, from_pandas=True)
        for name, column in zip(plan.input_names, inputs.T, strict=True)
    }
    arrays = [
        found[field.name].cast(field.type) if field.name in found else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def build_training_rows(
    events: Path,
    out: Path,
    plan: Plan,
    horizon: timedelta,
    *,
    refund_window: timedelta = timedelta(0),
    questions: bool = False,
    further: Sequence[timedelta] = (),
    memory_limit: str = "4GiB",
    temp_directory: Path | None = None,
    open_executor: Callable[..., PlanExecutor] = BatchExecutor,
    advance: Callable[[int], object] = lambda _: None,
) -> TrainingRowsReport:
    """Write the training rows of a file of events, ordered by time.

    The label says whether the same user buys the same product in (t, t + horizon]. It is null if the history ends
    before the horizon and the refund window are over, within which a returned purchase does not count; 0 counts all.
    With ``questions`` there are also the rows of ``sampled_requests``. ``further`` horizons have labels in columns of
    their own. Erased users have no rows.

    ``events`` is canonical Parquet, ``out`` a ``.parquet`` or ``.csv`` file. ``open_executor`` is ``BatchExecutor`` or
    ``SparkExecutor``, and gets the plan, ``memory_limit`` and ``temp_directory``. ``advance`` is called with the number
    of rows written since the last call.

    Raises:
        FeatureEngineError: The horizon is not positive, or ``out`` is neither ``.parquet`` nor ``.csv``.
        NotEnoughEventsError: No event makes features.
    """
    horizon_us = horizon // timedelta(microseconds=1)
    if horizon_us <= 0:
        raise FeatureEngineError(f"the horizon must be positive, got {horizon}")
    refund_us = refund_window // timedelta(microseconds=1)
    schema = training_schema(plan, questions=questions, further=further)
    names = _texts(questions)
    complete_until = f"(SELECT max(ts) - {refund_us} FROM events)"
    first_purchase = f"min({plan.purchase_frame}_t) OVER (PARTITION BY user_id, product_id)"
    extra = {
        "label": training_label(plan.purchase_frame, horizon_us, complete_until),
        "repeat_candidate": f"coalesce({first_purchase} < ts, false)",
        **{
            further_label(each): training_label(plan.purchase_frame, microseconds(each), complete_until)
            for each in further
        },
    }
    rows = labelled = positive = repeat = 0
    with (
        open_executor(plan, memory_limit=memory_limit, temp_directory=temp_directory) as executor,
        atomic_write(out) as partial,
        _open_writer(out, partial, schema) as writer,
    ):
        executor.load_events(events, refund_us)
        for states, inputs in executor.with_inputs(
            executor.event_rows(
                [*names, "ts", "amount", "is_purchase"],
                extra,
                questions_us=horizon_us + refund_us if questions else None,
            )
        ):
            batch = training_batch(states, inputs, plan, schema)
            writer.write_batch(batch)
            label = batch.column("label")
            rows += batch.num_rows
            labelled += batch.num_rows - label.null_count
            positive += label.true_count
            repeat += batch.column("repeat_candidate").true_count
            advance(batch.num_rows)
    return TrainingRowsReport(rows, labelled, positive, repeat)


def _texts(questions: bool) -> tuple[str, ...]:
    return (*_TEXTS, "asked") if questions else _TEXTS


def _open_writer(out: Path, partial: Path, schema: pa.Schema) -> Any:
    if out.suffix == ".parquet":
        return pq.ParquetWriter(partial, schema, compression="zstd")
    if out.suffix == ".csv":
        return pacsv.CSVWriter(partial, schema)
    suffix = out.suffix or "a name without extension"
    raise FeatureEngineError(f"{out}: can write .parquet and .csv, not {suffix}")
