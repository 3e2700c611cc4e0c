"""Speed of ``reprise score``: all pairs of a history, features included, on one core.

Run ``PYTHONPATH=tests python tests/bench/bench_scoring.py [scale]``; a scale below 1 shrinks everything. The baseline
asks Featuretools for the same features of a sample of the pairs, and scikit-learn for their probabilities, which are
compared with the file's.
"""

import os
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.standalone import history, in_own_process, run_alone
from reprise.features.discovery.planner import planned_candidates
from reprise.features.executors.batch import BatchExecutor
from reprise.features.parity.comparison import batch_inputs
from reprise.runtime.durations import EPOCH, microseconds
from reprise.scoring.inputs import ScoringInputs
from reprise.scoring.run import score
from reprise.scoring.settings import ScoringSettings
from reprise.trainer.pipeline import train
from reprise.trainer.settings import TrainerSettings
from support.discovered import definition
from support.hard_histories import Request, request_frame
from support.histories import read_events
from support.parity import reference_answers
from support.plans import checked_in_plan

PLAN = checked_in_plan()
SAMPLE = 500
REQUIRED_RATIO = 10.0
TOLERANCE = 1e-5
Numbers = dict[str, float | int]


def one_score(models: Path, events: Path, out: Path) -> Numbers:
    """Score all pairs on one core, and return the numbers of this process."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    settings = ScoringSettings(model_store=str(models), out=str(out))
    began = time.perf_counter()
    with ScoringInputs(settings, events, None, end_of(events)) as inputs:
        _ = inputs.history
        imported = time.perf_counter()
        report = score(inputs)
    ended = time.perf_counter()
    seconds = ended - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "events": report.manifest.events,
        "pairs": report.manifest.pairs,
        "seconds": round(seconds, 1),
        "import_seconds": round(imported - began, 1),
        "pairs_per_minute_on_one_core": round(60 * report.manifest.pairs / seconds),
        "pairs_per_minute_after_the_import": round(60 * report.manifest.pairs / (ended - imported)),
        "peak_gib": round(used.ru_maxrss / 2**20, 2),
    }


def end_of(events: Path) -> datetime:
    last: datetime = pc.max(pq.read_table(events, columns=["timestamp"])["timestamp"]).as_py()
    return last.astimezone(UTC) + timedelta(seconds=1)


def straightforward(events: Path, model: object, out: Path) -> Numbers:
    """Compute a sample of the pairs with Featuretools and scikit-learn; return pairs a minute and the largest error."""
    happened = read_events(events)
    rows = pq.read_table(out, columns=["user_id", "product_id", "probability"]).to_pylist()
    drawn = np.random.default_rng(0).choice(len(rows), min(SAMPLE, len(rows)), replace=False)
    sample = [rows[at] for at in np.sort(drawn)]
    at_us = microseconds(end_of(events) - EPOCH)
    asked = [Request(row["user_id"], row["product_id"], at_us) for row in sample]
    with BatchExecutor(PLAN) as executor:
        executor.load_events(events)
        inputs = batch_inputs(executor, PLAN, request_frame(asked)).astype(np.float32)
    began = time.perf_counter()
    reference_answers(happened, asked, planned_candidates(definition(), PLAN), definition())
    probabilities = model.calibration.apply(model.forest.score(inputs, jobs=1), inputs)  # type: ignore[attr-defined]
    seconds = time.perf_counter() - began
    errors = np.abs(probabilities - [row["probability"] for row in sample])
    return {
        "baseline_events": len(happened),
        "baseline_pairs": len(sample),
        "baseline_pairs_per_minute": round(60 * len(sample) / seconds),
        "largest_difference_of_probabilities": float(errors.max()),
    }


def run(scale: float = 1.0) -> Numbers:
    """Measure everything; the baseline gets a small history, on which Featuretools is fastest."""
    with tempfile.TemporaryDirectory(prefix="reprise-bench-") as name:
        folder = Path(name)
        few = max(30_000, round(40_000 * scale))
        small = history(folder / "small.parquet", few, users=400, products=100)
        size = {"users": round(60_000 * scale), "products": 2_000}
        large = history(folder / "large.parquet", round(3_000_000 * scale), **size)
        settings = TrainerSettings.load(
            events=small, out=str(folder / "models"), plan=Path("feature_repo/plan/plan.json"), cv_folds=0,
            horizon=timedelta(days=7),
        )  # fmt: skip
        model = train(settings).run.model.published
        numbers = in_own_process(one_score, folder / "models", large, folder / "scores")
        in_own_process(one_score, folder / "models", small, folder / "few")
        baseline = straightforward(small, model, folder / "few")
        ratio = numbers["pairs_per_minute_on_one_core"] / baseline["baseline_pairs_per_minute"]
        return {**numbers, **baseline, "times_as_fast": round(ratio, 1)}


def misses(numbers: Numbers) -> list[str]:
    """Say which of the required figures are missed; they are ratios within the run."""
    checks = {
        f"{REQUIRED_RATIO:g} times Featuretools and scikit-learn": numbers["times_as_fast"] >= REQUIRED_RATIO,
        "the same probabilities": numbers["largest_difference_of_probabilities"] <= TOLERANCE,
    }
    return [what for what, held in checks.items() if not held]


if __name__ == "__main__":
    sys.exit(run_alone(run, misses))
