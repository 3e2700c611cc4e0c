"""``reprise features check``: compute a plan on a file of events with three executors, and compare every value."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from reprise.events import Event, event_key
from reprise.features.discovery.candidates import Candidate
from reprise.features.discovery.definition import Definition
from reprise.features.discovery.planner import planned_candidates
from reprise.features.exceptions import NotEnoughEventsError
from reprise.features.executors.batch import BatchExecutor
from reprise.features.feature_functions import FloatArray
from reprise.features.parity.comparison import (
    Comparison,
    batch_inputs,
    compare,
    feature_scales,
    stream_inputs,
)
from reprise.features.parity.reference import reference_inputs
from reprise.features.plan import Plan
from reprise.runtime.progress import progress

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
    seed: int = 0,
) -> ParityReport:
    """Compute every event's row with three executors and compare them.

    ``events_file`` is canonical Parquet. Featuretools computes only ``reference_rows`` rows, drawn at random by the
    seed; None is all.

    Raises:
        DefinitionError: The definition does not make this plan.
        NotEnoughEventsError: No event makes features.
    """
    candidates = planned_candidates(definition, plan)
    events = _load(events_file, plan)
    requests = _requests(events)
    with BatchExecutor(plan, memory_limit=memory_limit) as executor:
        executor.load_events(events_file)
        batch = batch_inputs(executor, plan, requests)
    with progress("Folding events", len(events), "events") as bar:
        stream = stream_inputs(plan, _as_events(events), requests, bar)
    largest = float(np.nan_to_num(events["amount"].to_numpy(dtype=np.float64)).max(initial=0.0))

    scales = feature_scales(plan, plan.input_names, batch, largest)
    batch_and_stream = compare("batch and stream", plan.input_names, batch, stream, scales)
    drawn = _draw(len(requests), reference_rows, seed)
    names = tuple(c.name for c in candidates)
    with progress("Computing the reference with Featuretools", len(drawn), "rows") as bar:
        reference = _reference(events, requests.iloc[drawn], candidates, definition, bar.advance)
    columns = [plan.input_names.index(name) for name in names]
    reference_and_batch = compare(
        "reference and batch", names, reference, batch[drawn][:, columns], scales[columns]
    )
    return ParityReport(len(events), len(requests), len(drawn), (reference_and_batch, batch_and_stream))


def _load(events_file: Path, plan: Plan) -> pd.DataFrame:
    frame = pq.read_table(events_file).to_pandas()
    frame = frame[frame["event_type"].isin(list(plan.frames))].drop_duplicates("event_id")
    if frame.empty:
        raise NotEnoughEventsError(f"{events_file}: no event is of a type that makes features")
    instants = frame["timestamp"].dt.tz_convert("UTC").dt.tz_localize(None)
    frame["timestamp_us"] = instants.astype("datetime64[us]").astype("int64")
    frame["timestamp"] = instants.astype("datetime64[ns]")
    frame["event_key"] = [event_key(event_id) for event_id in frame["event_id"]]
    return frame.reset_index(drop=True)


def _requests(events: pd.DataFrame) -> pd.DataFrame:
    columns = events[["user_id", "product_id", "timestamp_us", "timestamp", "amount"]]
    return columns.assign(
        row_id=np.arange(len(events), dtype=np.int64),
        is_purchase=(events["event_type"] == "purchase").astype(np.float64),
    )


def _as_events(events: pd.DataFrame) -> list[Event]:
    columns = ["event_id", "user_id", "product_id", "event_type", "timestamp_us", "amount"]
    return [
        Event(event_id, user, product, kind, at, None if np.isnan(amount) else amount)
        for event_id, user, product, kind, at, amount in events[columns].itertuples(index=False, name=None)
    ]


def _draw(rows: int, wanted: int | None, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if wanted is None or wanted >= rows:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, wanted, replace=False))


def _reference(
    events: pd.DataFrame,
    requests: pd.DataFrame,
    candidates: tuple[Candidate, ...],
    definition: Definition,
    advance: Callable[[int], None],
) -> FloatArray:
    parts = []
    for start in range(0, len(requests), _REFERENCE_CHUNK):
        chunk = requests.iloc[start : start + _REFERENCE_CHUNK]
        values = reference_inputs(events, chunk, candidates, definition)
        parts.append(np.column_stack([values[c.name] for c in candidates]))
        advance(len(chunk))
    return np.concatenate(parts)
