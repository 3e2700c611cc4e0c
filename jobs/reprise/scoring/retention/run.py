"""One run of ``reprise retention``: from events and a bundle's users' model to files of probabilities."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reprise.bundle import Bundle, BundleStore
from reprise.bundle.scorer import Scorer
from reprise.evaluation.classification_metrics import Floats, RankedPredictions
from reprise.events import parse_timestamp
from reprise.features.accumulators import MICROSECONDS_PER_DAY
from reprise.features.user_rows import UserRows
from reprise.runtime.durations import EPOCH
from reprise.runtime.job_metrics import reported_job
from reprise.runtime.progress import progress
from reprise.scoring.exceptions import ScoringError
from reprise.scoring.inputs import ScoringInputs
from reprise.scoring.output import ScoreDirectory
from reprise.scoring.retention.metrics import JOB, RetentionMetrics
from reprise.scoring.retention.output import (
    AT_RISK,
    FOLDER,
    SCHEMA,
    Backtest,
    Band,
    RetentionManifest,
    RetentionReport,
)
from reprise.scoring.run import checked_scores

_BANDS = 5


@dataclass(frozen=True, slots=True)
class _Scores:
    """Rows of users at all instants of a run, in the order of ``ts`` and ``user_id``, and their probabilities."""

    past: pa.Table  # ``UserRows.past``
    published: Floats
    evaluated: Floats

    def at(self, instant_us: int) -> "_Scores":
        """Return the rows of an instant."""
        start, end = np.searchsorted(self.past["ts"].to_numpy(), [instant_us, instant_us + 1])
        rows = slice(int(start), int(end))
        return _Scores(self.past[rows], self.published[rows], self.evaluated[rows])


def score_users(inputs: ScoringInputs, backtests: int) -> RetentionReport:
    """Score the users with a purchase before the instant, and write the scores to files.

    Raises:
        RepriseError: The events, the model or the output is unavailable or unusable, nobody bought anything, or the
            bundle has no model of users.
    """
    settings = inputs.settings
    with reported_job(JOB, settings) as job:
        bundle = inputs.bundle
        scorers = _open_scorers(inputs.models, bundle)
        out = ScoreDirectory(f"{settings.out}/{FOLDER}", inputs.at, bundle.digest, RetentionManifest, SCHEMA)
        complete = out.manifest()
        wanted = (inputs.at, bundle.digest, settings.format, backtests)
        if complete and (complete.at, complete.model, complete.format, complete.wanted_backtests) == wanted:
            RetentionMetrics(job.registry).show(complete)
            return RetentionReport(complete, out.location)
        manifest = bundle.manifest
        at_us, horizon_us = inputs.at_us, manifest.horizon_seconds * 1_000_000
        with UserRows(
            inputs.plan,
            inputs.history,
            before_us=at_us,
            refund_us=manifest.refund_window_seconds * 1_000_000,
            memory_limit=inputs.memory_limit,
            open_executor=inputs.open_executor,
        ) as rows:
            summary = rows.summary()
            if not rows.users:
                raise ScoringError(
                    f"there are {summary.count:,} events before {inputs.at.isoformat()}, but no purchase"
                )
            earlier = [at_us - back * horizon_us for back in range(max(backtests, 1), 0, -1)]
            scores = _score(rows, scorers, [*earlier, at_us], at_us - horizon_us)
            table = _table(scores, rows.purchase_patterns(at_us, horizon_us), at_us, horizon_us)
        names = inputs.part_names(math.ceil(len(table) / settings.chunk), summary)
        present = out.begin(names)
        with progress("Writing", len(table), "users") as bar:
            for part, file in enumerate(names):
                if file not in present:
                    chosen = table.slice(part * settings.chunk, settings.chunk)
                    out.write(file, chosen.to_batches(), inputs.folder, bar.advance)
        held_out_us = parse_timestamp(manifest.data.evaluation.start)
        found = RetentionManifest(
            **inputs.describe(summary, names, manifest.horizon_seconds),
            users=len(table),
            bands=_bands(table),
            wanted_backtests=backtests,
            backtests=_backtests(scores, earlier[:backtests], horizon_us, held_out_us),
            model_knows_until=manifest.data.last,
        )
        out.finish(found)
        RetentionMetrics(job.registry).show(found)
    return RetentionReport(found, out.location, is_complete=False)


def _open_scorers(models: BundleStore, bundle: Bundle) -> tuple[Scorer, Scorer]:
    """Return the scorers of the published and the evaluated graph of users."""
    graphs, users, model = models.user_models(bundle), bundle.manifest.users, bundle.manifest.model
    if graphs is None or users is None:
        raise ScoringError(
            f"{bundle.digest} has no model of users: an earlier version trained it, or its data was not enough"
            " (its model card says so); run reprise train again"
        )
    published, evaluated = (Scorer(graph, model.input, model.output, users.inputs) for graph in graphs)
    return published, evaluated


def _score(
    rows: UserRows, scorers: tuple[Scorer, Scorer], instants: Sequence[int], published_from_us: int
) -> _Scores:
    """Return the scores at all instants; those by the published graph are NaN before ``published_from_us``."""
    buyers = rows.buyers(instants)
    past, (published, evaluated) = rows.past(buyers), scorers
    found = np.full((2, len(buyers)), np.nan)
    first = int(np.searchsorted(past["ts"].to_numpy(), published_from_us))
    done = 0
    with progress("Scoring", len(buyers), "users") as bar:
        for inputs in rows.inputs(buyers):
            place = slice(done, done + len(inputs))
            found[1, place] = checked_scores(evaluated, inputs)
            if (skipped := max(0, first - done)) < len(inputs):
                found[0, done + skipped : place.stop] = checked_scores(published, inputs[skipped:])
            done = place.stop
            bar.advance(len(inputs))
    return _Scores(past, found[0], found[1])


def _table(scores: _Scores, patterns: pa.Table, at_us: int, horizon_us: int) -> pa.Table:
    now, before = scores.at(at_us), scores.at(at_us - horizon_us)
    users, past = now.past["user_id"].combine_chunks(), now.past
    earlier = np.full(len(users), np.nan)
    earlier[pc.index_in(before.past["user_id"], value_set=users).to_numpy()] = before.published
    own = patterns.take(pc.index_in(users, value_set=patterns["user_id"].combine_chunks()))
    columns = [
        users,
        pa.array(now.published.astype(np.float32)),
        pa.array(earlier.astype(np.float32), from_pandas=True),
        pa.array((earlier - now.published).astype(np.float32), from_pandas=True),
        own["gap_days"],
        pa.array((at_us - past["last_us"].to_numpy()) / MICROSECONDS_PER_DAY),
        past["purchases"],
        own["value"],
        past["last_us"].cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC")),
    ]
    return pa.table(columns, schema=SCHEMA)


def _bands(table: pa.Table) -> list[Band]:
    probability = table["probability"].to_numpy()
    at_risk = np.nan_to_num(table["drop"].to_numpy(), nan=-1.0) >= AT_RISK
    value = np.nan_to_num(table["value"].to_numpy())
    place = np.minimum((probability * _BANDS).astype(np.int64), _BANDS - 1)
    return [
        Band(
            low=number / _BANDS,
            high=(number + 1) / _BANDS,
            users=int(mine.sum()),
            expected_buyers=float(probability[mine].sum()),
            at_risk=int(at_risk[mine].sum()),
            expected_spend=float((probability * value)[mine].sum()),
        )
        for number in range(_BANDS)
        for mine in [place == number]
    ]


def _backtests(scores: _Scores, instants: Sequence[int], horizon_us: int, held_out_us: int) -> list[Backtest]:
    """Return the backtests of the instants at which there are users."""
    found = []
    for instant in instants:
        rows = scores.at(instant)
        if not len(rows.past):
            continue
        wait = rows.past["next_us"].cast("float64").to_numpy() - instant
        bought = wait <= horizon_us
        metrics = RankedPredictions.of(bought, rows.evaluated).metrics()
        recency = RankedPredictions.of(bought, rows.past["last_us"].to_numpy().astype(np.float64)).metrics()
        found.append(
            Backtest(
                at=EPOCH + timedelta(microseconds=instant),
                users=len(bought),
                expected_buyers=float(rows.evaluated.sum()),
                buyers=int(bought.sum()),
                roc_auc=None if math.isnan(metrics.roc_auc) else metrics.roc_auc,
                recency_roc_auc=None if math.isnan(recency.roc_auc) else recency.roc_auc,
                brier=metrics.brier,
                calibration_error=metrics.calibration_error,
                in_sample=instant < held_out_us,
            )
        )
    return found
