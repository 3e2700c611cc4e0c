"""Speed of the feature engine: batch against Featuretools, a million events, and the fold.

Run ``PYTHONPATH=tests python tests/bench/bench_features.py [scale]``; a scale below 1 shrinks everything. Baselines:

- Featuretools computes the very same rows of the very same 20,000 events, and every value is compared.
- Without accumulators one keeps each entity's events in lists, and at each event computes the state of its user,
  product and pair anew from them, here with numpy. The fold gets the very same events, and the states are compared.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from bench.standalone import history, in_own_process, run_alone
from reprise.features.discovery.planner import planned_candidates
from reprise.features.executors.batch import BatchExecutor
from reprise.features.executors.fold import Fold, InMemoryStates
from reprise.features.parity.comparison import batch_inputs, compare, feature_scales
from reprise.features.training_rows import build_training_rows
from support.discovered import definition
from support.hard_histories import Request, largest_amount, request_frame
from support.histories import read_events
from support.parity import reference_answers, state_mismatches, states_by_ids
from support.plans import checked_in_plan
from support.raw_lists import RawLists

PLAN = checked_in_plan()
REQUIRED_RATIO = 100.0
MEMORY_LIMIT = "3GiB"
Numbers = dict[str, Any]


def against_featuretools(folder: Path, events: int, rows: int) -> Numbers:
    path = history(folder / "few.parquet", events, users=400, products=100)
    happened = read_events(path)
    drawn = np.sort(np.random.default_rng(0).choice(len(happened), rows, replace=False))
    asked = [Request(e.user_id, e.product_id, e.timestamp_us) for e in (happened[at] for at in drawn)]
    candidates = planned_candidates(definition(), PLAN)
    names = [c.name for c in candidates]
    columns = [PLAN.input_names.index(name) for name in names]

    def batch(requests: Sequence[Request]) -> tuple[float, np.ndarray]:
        began = time.perf_counter()
        with BatchExecutor(PLAN, memory_limit=MEMORY_LIMIT) as executor:
            executor.load_events(path)
            values = batch_inputs(executor, PLAN, request_frame(requests))
        return time.perf_counter() - began, values[:, columns]

    batch_seconds, values = batch(asked)
    every_seconds, _ = batch([Request(e.user_id, e.product_id, e.timestamp_us) for e in happened])
    began = time.perf_counter()
    reference = reference_answers(happened, asked, candidates, definition())
    reference_seconds = time.perf_counter() - began
    scales = feature_scales(PLAN, names, values, largest_amount(happened))
    compared = compare("Featuretools and batch", names, reference, values, scales)
    return {
        "events": events,
        "rows": rows,
        "featuretools_seconds": round(reference_seconds, 1),
        "batch_seconds": round(batch_seconds, 2),
        "times_as_fast_on_the_same_rows": round(reference_seconds / batch_seconds, 1),
        "batch_seconds_for_a_row_of_every_event": round(every_seconds, 2),
        "values_compared": compared.compared,
        "mismatches": len(compared.mismatches),
    }


def one_build(path: Path, out: Path) -> Numbers:
    """Build training rows, and return seconds and peak memory of this process."""
    began = time.perf_counter()
    report = build_training_rows(path, out, PLAN, timedelta(days=30), memory_limit=MEMORY_LIMIT)
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "events": report.rows,
        "inputs": len(PLAN.inputs),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "events_per_second": round(report.rows / seconds),
        "peak_gib": round(used.ru_maxrss / 2**20, 2),
    }


def many_events(folder: Path, events: int) -> Numbers:
    size = {"users": max(50, events // 50), "products": max(20, events // 500)}
    path = history(folder / "many.parquet", events, **size)
    return in_own_process(one_build, path, folder / "rows.parquet")


def folding(folder: Path, events: int, baseline_events: int) -> Numbers:
    happened = read_events(history(folder / "folded.parquet", events, users=2_000, products=300))
    fold, states = Fold(PLAN), InMemoryStates(PLAN)
    began = time.perf_counter()
    for event in happened:
        states.fold(fold, event)
    rate = events / (time.perf_counter() - began)

    few = happened[:baseline_events]
    states = InMemoryStates(PLAN)
    began = time.perf_counter()
    for event in few:
        states.fold(fold, event)
    few_seconds = time.perf_counter() - began
    lists, recomputed = RawLists(PLAN), InMemoryStates(PLAN)
    began = time.perf_counter()
    for event in few:
        lists.take(event, recomputed)
    baseline_seconds = time.perf_counter() - began
    different = [
        mismatch
        for entity in PLAN.entities
        for mismatch in state_mismatches(
            entity, states_by_ids(states, entity), states_by_ids(recomputed, entity), largest_amount(few)
        )
    ]
    if different:
        raise AssertionError(f"the baseline keeps other states than the fold: {different[:3]}")
    return {
        "events": events,
        "fold_events_per_second": round(rate),
        "baseline_events": baseline_events,
        "baseline_events_per_second": round(baseline_events / baseline_seconds),
        "times_as_fast_on_the_same_events": round(baseline_seconds / few_seconds, 1),
    }


def run(scale: float = 1.0) -> dict[str, Numbers]:
    """Measure everything; return the numbers by part."""
    with tempfile.TemporaryDirectory(prefix="reprise-bench-") as name:
        folder = Path(name)
        return {
            "batch": many_events(folder, round(1_000_000 * scale)),
            "fold": folding(folder, round(100_000 * scale), round(20_000 * scale)),
            "batch_against_featuretools": against_featuretools(
                folder, round(20_000 * scale), round(1_000 * scale)
            ),
        }


def misses(numbers: dict[str, Numbers]) -> list[str]:
    """Say which of the required figures are missed, at full scale; they are ratios within the run."""
    against = numbers["batch_against_featuretools"]
    checks = {
        f"{REQUIRED_RATIO:g} times Featuretools": against["times_as_fast_on_the_same_rows"] >= REQUIRED_RATIO,
        "no mismatch with Featuretools": against["mismatches"] == 0,
    }
    return [what for what, held in checks.items() if not held]


if __name__ == "__main__":
    sys.exit(run_alone(run, misses))
