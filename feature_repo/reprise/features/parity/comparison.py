"""Parity: reference, batch SQL and fold must agree on every feature of every row."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from reprise.events import Event
from reprise.features.accumulators import Cell
from reprise.features.executors.fold import Fold, InMemoryStates
from reprise.features.executors.plan_executor import REQUEST_COLUMNS, PlanExecutor
from reprise.features.feature_functions import FloatArray
from reprise.features.latest_products import pack_entry, unpack_list
from reprise.features.plan import Plan
from reprise.features.vectorizer import FeatureVectorizer
from reprise.runtime.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-9
"""Largest accepted difference, relative to the feature's scale."""

_SMALLEST_SCALE = 1e-290
"""Below it, decayed values run out of a double's exponent, at a different step in each executor."""


@dataclass(frozen=True)
class Mismatch:
    """One value that two executors disagree on."""

    executors: str
    feature: str
    row: int
    left: Any
    right: Any

    def __str__(self) -> str:
        return f"{self.executors}: {self.feature}, row {self.row}: {self.left!r} against {self.right!r}"


@dataclass(frozen=True)
class Comparison:
    """Number of rows and values compared, the values that differ, and the largest difference relative to the scale."""

    executors: str
    rows: int
    compared: int
    mismatches: tuple[Mismatch, ...]
    worst: float


def compare(
    executors: str, names: Sequence[str], left: FloatArray, right: FloatArray, scales: FloatArray
) -> Comparison:
    """Compare two matrices of shape (rows, features); a missing value (NaN) equals only a missing one.

    ``executors`` is the label of both, ``names`` are the features; ``scales`` are those of ``feature_scales``.
    """
    missing = np.isnan(left) | np.isnan(right)
    differ = np.isnan(left) != np.isnan(right)
    error = np.abs(np.where(missing, 0.0, left) - np.where(missing, 0.0, right)) / scales
    bad = differ | (error > TOLERANCE)
    mismatches = tuple(
        Mismatch(executors, names[column], int(row), float(left[row, column]), float(right[row, column]))
        for row, column in zip(*np.nonzero(bad), strict=True)
    )
    return Comparison(executors, len(left), int(left.size), mismatches, float(error.max(initial=0.0)))


def compare_lists(executor: PlanExecutor, plan: Plan, events: Sequence[Event]) -> Comparison:
    """Compare each user's list of products after all events: sorted purchases, batch SQL and the fold.

    The executor has loaded the same events, which are distinct. Rows are users, in order.
    """
    executors, kept = "lists: sorted, batch and stream", plan.user.latest_products
    if kept is None:
        return Comparison(executors, 0, 0, (), 0.0)
    fold = Fold(plan)
    streamed: defaultdict[str, Cell] = defaultdict(lambda: kept.empty)
    latest: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for event in events:
        user, lifted = event.user_id, fold.frame_event(event)
        if lifted is not None and lifted.frame == kept.frame:
            streamed[user] = kept.merge(streamed[user], kept.lift(lifted))
            before = latest[user].get(event.product_id, event.timestamp_us)
            latest[user][event.product_id] = max(before, event.timestamp_us)
    found = []
    rows = [
        row
        for batch in executor.final_states("user")
        for row in batch.select(["user_id", kept.id]).to_pylist()
    ]
    for number, row in enumerate(sorted(rows, key=itemgetter("user_id"))):
        user = row["user_id"]
        packed = sorted((pack_entry(at, product) for product, at in latest[user].items()), reverse=True)
        lists = [unpack_list(b"".join(packed[: kept.spec["limit"]]))]
        lists += [unpack_list(each) for each in (row[kept.id], streamed[user][0])]
        wrong = next((each for each in lists[1:] if each != lists[0]), None)
        if wrong is not None:
            found.append(Mismatch(executors, kept.id, number, lists[0], wrong))
    return Comparison(executors, len(rows), len(rows), tuple(found), float(bool(found)))


def feature_scales(plan: Plan, names: Sequence[str], values: FloatArray, largest_amount: float) -> FloatArray:
    """Return the scale of each feature, shape (features,): its largest magnitude over the rows.

    For a standard deviation it is at least the largest amount: it comes from squares of the amounts, so its error
    follows their magnitude and not their spread.
    """
    kinds = {i.name: i.finish["kind"] for i in plan.inputs}
    magnitude = np.nan_to_num(np.abs(values)).max(axis=0, initial=0.0)
    is_std = np.array([kinds[name] == "std" for name in names])
    scales = np.where(is_std, np.maximum(magnitude, largest_amount), magnitude)
    floored: FloatArray = np.maximum(scales, _SMALLEST_SCALE)
    return floored


def stream_inputs(
    plan: Plan, events: Sequence[Event], requests: "pd.DataFrame", progress: Progress
) -> FloatArray:
    """Return the inputs of requests by folding the events strictly before each, shape (requests, inputs).

    Events are distinct, in any order. Requests have the columns ``plan_executor.REQUEST_COLUMNS``; ``row_id`` numbers
    them from 0.
    """
    fold, vectorizer, states = Fold(plan), FeatureVectorizer(plan), InMemoryStates(plan)
    out = np.full((len(requests), len(plan.inputs)), np.nan)
    in_order = sorted(events, key=attrgetter("timestamp_us"))
    folded = 0
    rows = requests[list(REQUEST_COLUMNS)].sort_values("timestamp_us", kind="stable")
    for row_id, user, product, at_us, amount, is_purchase in rows.itertuples(index=False, name=None):
        before = bisect_left(in_order, at_us, lo=folded, key=attrgetter("timestamp_us"))
        for event in in_order[folded:before]:
            states.fold(fold, event)
        progress.advance(before - folded)
        folded = before
        out[row_id] = vectorizer.vector(
            *states.of(user, product),
            at_us,
            None if np.isnan(amount) else amount,
            None if np.isnan(is_purchase) else (plan.purchase_type if is_purchase else "other"),
        )
    progress.advance(len(in_order) - folded)
    return out


def batch_inputs(executor: PlanExecutor, plan: Plan, requests: "pd.DataFrame | pa.Table") -> FloatArray:
    """Return the inputs of requests by batch SQL over the executor's events, shape (requests, inputs)."""
    out = np.full((len(requests), len(plan.inputs)), np.nan)
    if not isinstance(requests, pa.Table):
        requests = pa.Table.from_pandas(requests, preserve_index=False)
    for batch, inputs in executor.with_inputs(executor.request_rows(requests)):
        out[batch.column("row_id").to_numpy()] = inputs
    return out
