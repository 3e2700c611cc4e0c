"""``reprise features check``: compute a plan on a file of events with three executors, and compare every value."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from reprise.events import Event
from reprise.features.discovery.definition import Definition
from reprise.features.discovery.planner import planned_candidates
from reprise.features.executors.batch import BatchExecutor
from reprise.features.executors.spark import SparkExecutor
from reprise.features.parity.comparison import (
    Comparison,
    batch_inputs,
    compare,
    compare_lists,
    feature_scales,
    stream_inputs,
)
from reprise.features.parity.reference import reference_inputs
from reprise.features.plan import Plan
from reprise.runtime.progress import progress

_EVENT_FIELDS = ["event_id", "user_id", "product_id", "event_type", "timestamp_us", "amount"]
_REFERENCE_CHUNK = 100


@dataclass(frozen=True)
class ParityReport:
    """The comparisons of a check, and over how many events and rows they are."""

    events: int
    rows: int
    reference_rows: int
    comparisons: tuple[Comparison, ...]

    @property
    def mismatches(self) -> int:
        """The number of values that differ."""
        return sum(len(c.mismatches) for c in self.comparisons)


def check_parity(
    events_file: Path,
    plan: Plan,
    definition: Definition,
    *,
    reference_rows: int | None,
    memory_limit: str = "4GiB",
    spark_master: str | None = None,
    spark_files: str | None = None,
) -> ParityReport:
    """Compute every event's row with three executors and compare them; with ``spark_master`` also on Spark.

    ``events_file`` is canonical Parquet. Featuretools computes only ``reference_rows`` rows, drawn at random; None is
    all. ``spark_files`` is the ``files`` of ``SparkExecutor``.

    Raises:
        DefinitionError: The definition does not make this plan.
        ExecutorUnavailableError: Spark cannot be used.
        NotEnoughEventsError: No event makes features.
    """
    candidates = planned_candidates(definition, plan)
    with BatchExecutor(plan, memory_limit=memory_limit) as executor:
        executor.load_events(events_file)
        table = executor.events()
        events = table.to_pandas()
        events["timestamp"] = pd.to_datetime(events["timestamp_us"], unit="us").astype("datetime64[ns]")
        requests = events.assign(
            row_id=np.arange(len(events), dtype=np.int64),
            is_purchase=(events["event_type"] == plan.purchase_type).astype(np.float64),
        )
        batch = batch_inputs(executor, plan, requests)
        fields = [column.to_pylist() for column in table.select(_EVENT_FIELDS).columns]
        folded = [Event(*each) for each in zip(*fields, strict=True)]
        lists = compare_lists(executor, plan, folded)
    with progress("Folding events", len(events), "events") as bar:
        stream = stream_inputs(plan, folded, requests, bar)
    largest = float(np.nan_to_num(events["amount"].to_numpy(dtype=np.float64)).max(initial=0.0))

    scales = feature_scales(plan, plan.input_names, batch, largest)
    batch_and_stream = compare("batch and stream", plan.input_names, batch, stream, scales)
    drawn = np.arange(len(requests))
    if reference_rows is not None and reference_rows < len(requests):
        drawn = np.sort(np.random.default_rng(0).choice(len(requests), reference_rows, replace=False))
    with progress("Computing the reference with Featuretools", len(drawn), "rows") as bar:
        parts = []
        for start in range(0, len(drawn), _REFERENCE_CHUNK):
            chunk = requests.iloc[drawn[start : start + _REFERENCE_CHUNK]]
            values = reference_inputs(events, chunk, candidates, definition)
            parts.append(np.column_stack(list(values.values())))
            bar.advance(len(chunk))
    # The plan's inputs begin with those of the candidates, in the same order.
    count = len(candidates)
    reference_and_batch = compare(
        "reference and batch",
        plan.input_names[:count],
        np.concatenate(parts),
        batch[drawn, :count],
        scales[:count],
    )
    comparisons = [reference_and_batch, batch_and_stream, lists]
    if spark_master is not None:
        with SparkExecutor(
            plan, master=spark_master, memory_limit=memory_limit, files=spark_files
        ) as on_spark:
            on_spark.load_events(events_file)
            spark = batch_inputs(on_spark, plan, requests)
            comparisons += [
                compare("batch and Spark", plan.input_names, batch, spark, scales),
                replace(compare_lists(on_spark, plan, folded), executors="lists: sorted, Spark and stream"),
            ]
    return ParityReport(len(events), len(requests), len(drawn), tuple(comparisons))
