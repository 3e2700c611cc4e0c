"""One run of the scoring job: from events and a model to files of probabilities."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reprise.bundle.scorer import Scorer
from reprise.features.executors.plan_executor import PlanExecutor
from reprise.runtime.durations import EPOCH, format_duration, microseconds
from reprise.runtime.executor_settings import ExecutorName
from reprise.runtime.job_metrics import reported_job
from reprise.runtime.progress import progress
from reprise.scoring.exceptions import ScoringError
from reprise.scoring.inputs import ScoringInputs
from reprise.scoring.metrics import JOB, ScoringMetrics
from reprise.scoring.output import SCHEMA, PairScoresManifest, ScoreDirectory, in_sample_warning


@dataclass(frozen=True, slots=True)
class ScoringReport:
    """The scores' manifest and location, and what the run did: pairs scored, files that were there, seconds."""

    manifest: PairScoresManifest
    location: str
    is_complete: bool = True  # Before the run
    scored: int = 0
    present: int = 0
    seconds: float = 0.0
    model_knows_until: str = ""  # Time of the last event that the model has learnt from
    executor: ExecutorName = "duckdb"

    def __str__(self) -> str:
        found = self.manifest
        horizon = format_duration(timedelta(seconds=found.horizon_seconds))
        what = f"{found.pairs:,} pairs at {found.at.isoformat()} by {found.model}, horizon {horizon}"
        if self.is_complete:
            return f"nothing to do: {self.location} has the scores of {what}"
        present = f"; {self.present} of {len(found.files)} files were there" if self.present else ""
        on_spark = " on Spark" if self.executor == "spark" else ""
        lines = [
            f"{self.location}: {what}",
            f"{found.events:,} events before the instant, the last at {found.last_event.isoformat()}",
            f"scored {self.scored:,} pairs in {self.seconds:.1f} s{on_spark}{present}",
        ]
        lines += in_sample_warning(self.model_knows_until, found.at)
        return "\n".join(lines)


def score(inputs: ScoringInputs) -> ScoringReport:
    """Score the pairs with a purchase before the instant, and write the scores to files.

    Raises:
        RepriseError: The events, the model or the output is unavailable or unusable, or nobody bought anything.
    """
    started, settings = time.monotonic(), inputs.settings
    with reported_job(inputs.job_name(JOB), settings) as job:
        bundle = inputs.bundle
        further = inputs.further_horizon
        url = settings.out if further is None else f"{settings.out.rstrip('/')}/horizon={further}"
        out = ScoreDirectory(url, inputs.at, bundle.digest, PairScoresManifest)
        complete = out.manifest()
        wanted = (inputs.at, bundle.digest, settings.format)
        if complete and (complete.at, complete.model, complete.format) == wanted:
            ScoringMetrics(job.registry).show(complete)
            return ScoringReport(complete, out.location)
        with inputs.executor() as executor:
            executor.load_events(inputs.history, before_us=inputs.at_us)
            manifest, scored, present = _write_scores(executor, inputs, out)
        ScoringMetrics(job.registry).show(manifest)
    seconds = time.monotonic() - started
    known = bundle.manifest.data.last
    return ScoringReport(manifest, out.location, False, scored, present, seconds, known, executor.name)


def _write_scores(
    executor: PlanExecutor, inputs: ScoringInputs, out: ScoreDirectory[PairScoresManifest]
) -> tuple[PairScoresManifest, int, int]:
    """Write the parts that are missing, and the manifest; return it, the pairs scored and the parts found."""
    with progress("Computing states", 1, "steps") as bar:
        pairs = executor.load_pairs(inputs.settings.chunk)
        bar.advance()
    events = executor.summary()
    if not sum(pairs):
        raise ScoringError(
            f"there are {events.count:,} events before {inputs.at.isoformat()}, but no purchase"
        )
    names = inputs.part_names(len(pairs), events)
    parts = {names[number]: number for number, count in enumerate(pairs) if count}
    present = out.begin(parts)
    scorer = inputs.scorer()
    missing = {name: number for name, number in parts.items() if name not in present}
    with progress("Scoring", sum(pairs[number] for number in missing.values()), "pairs") as bar:
        for name, number in missing.items():
            rows = score_pairs(executor, scorer, number, inputs.at)
            out.write(name, rows, inputs.folder, bar.advance)
    manifest = PairScoresManifest(
        **inputs.describe(events, list(parts), inputs.horizon_seconds), pairs=sum(pairs)
    )
    out.finish(manifest)
    return manifest, bar.finished, len(present)


def score_pairs(executor: PlanExecutor, scorer: Scorer, part: int, at: datetime) -> Iterator[pa.RecordBatch]:
    """Yield the scores of a part of the executor's pairs, ``output.SCHEMA``; raises ``ScoringError``."""
    rows = executor.pair_rows(part, microseconds(at - EPOCH))
    for batch, inputs in executor.with_inputs(rows):
        probabilities = checked_scores(scorer, inputs)
        ids = [batch.column(name) for name in ("user_id", "product_id")]
        bought = [batch.column(name) for name in ("purchases", "mean_amount")]
        last = batch.column("last_purchase_us").cast(SCHEMA.field("last_purchase").type)
        yield pa.RecordBatch.from_arrays([*ids, pa.array(probabilities), *bought, last], schema=SCHEMA)


def checked_scores(scorer: Scorer, inputs: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Return the scores of rows; raises ``ScoringError`` if one is not a probability."""
    scores = scorer.score(inputs)
    if not np.all((scores >= 0) & (scores <= 1)):  # nor NaN
        raise ScoringError("the model's graph gives a score that is not a probability")
    return scores
