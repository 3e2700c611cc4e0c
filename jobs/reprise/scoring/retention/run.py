"""One run of ``reprise retention``: from events and a bundle's users' model to files of probabilities."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reprise.bundle import Bundle, BundleStore
from reprise.bundle.scorer import Scorer
from reprise.evaluation.classification_metrics import Floats, RankedPredictions
from reprise.event_files.options import ImportOptions
from reprise.events import parse_timestamp
from reprise.features.plan import Plan
from reprise.features.user_rows import UserRows
from reprise.runtime.durations import EPOCH, microseconds
from reprise.runtime.job_metrics import reported_job
from reprise.runtime.progress import progress
from reprise.scoring.exceptions import ScoringError
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
from reprise.scoring.run import open_bundle, read_history
from reprise.scoring.settings import ScoringSettings

_DAY_US = 86_400_000_000
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
        return _Scores(
            self.past.slice(rows.start, rows.stop - rows.start), self.published[rows], self.evaluated[rows]
        )


def score_users(
    settings: ScoringSettings,
    events: Path | None,
    offline: str | None,
    at: datetime,
    backtests: int,
    import_options: ImportOptions,
    memory_limit: str,
) -> RetentionReport:
    """Score the users with a purchase before an instant, and write the scores to files.

    Raises:
        RepriseError: The events, the model or the output is unavailable or unusable, nobody bought anything, or the
            bundle has no model of users.
    """
    at = at.astimezone(UTC)
    at_us = microseconds(at - EPOCH)
    with reported_job(JOB, settings) as job, TemporaryDirectory(prefix="reprise-retention-") as name:
        metrics = RetentionMetrics(job.registry)
        models, bundle = open_bundle(settings)
        scorers = _open_scorers(models, bundle)
        out = ScoreDirectory(f"{settings.out}/{FOLDER}", at, bundle.digest, RetentionManifest, SCHEMA)
        complete = out.manifest()
        wanted = (at, bundle.digest, settings.format, backtests)
        if complete and (complete.at, complete.model, complete.format, complete.wanted_backtests) == wanted:
            metrics.show(complete)
            return RetentionReport(complete, out.location)
        history = read_history(Path(name), events, offline, import_options, memory_limit)
        manifest = bundle.manifest
        plan, horizon_us = Plan.from_dict(manifest.plan), manifest.horizon_seconds * 1_000_000
        with UserRows(
            plan,
            history,
            before_us=at_us,
            refund_us=manifest.refund_window_seconds * 1_000_000,
            memory_limit=memory_limit,
        ) as rows:
            summary = rows.summary()
            if not rows.users:
                raise ScoringError(
                    f"there are {summary.count:,} events before {at.isoformat()}, but no purchase"
                )
            earlier = [at_us - back * horizon_us for back in range(max(backtests, 1), 0, -1)]
            scores = _score(rows, scorers, [*earlier, at_us], at_us - horizon_us)
            table = _table(scores, rows.habits(at_us, horizon_us), at_us, horizon_us)
        tag = sha256(f"{at} {bundle.digest} {settings.chunk} {summary}".encode()).hexdigest()[:8]
        parts = math.ceil(len(table) / settings.chunk)
        names = [f"part-{part:05}-of-{parts:05}-{tag}.{settings.format}" for part in range(parts)]
        present = out.begin(names)
        with progress("Writing", len(table), "users") as bar:
            for part, file in enumerate(names):
                if file not in present:
                    chosen = table.slice(part * settings.chunk, settings.chunk)
                    out.write(file, chosen.to_batches(), Path(name), bar.advance)
        held_out_us = parse_timestamp(manifest.data.evaluation.start)
        found = RetentionManifest(
            at=at,
            model=bundle.digest,
            format=settings.format,
            horizon_seconds=manifest.horizon_seconds,
            chunk=settings.chunk,
            events=summary.count,
            last_event=EPOCH + timedelta(microseconds=summary.last_us),
            files=names,
            users=len(table),
            bands=_bands(table),
            purchase_type=plan.purchase_type,
            refund_window_seconds=manifest.refund_window_seconds,
            wanted_backtests=backtests,
            backtests=_backtests(scores, earlier[:backtests], horizon_us, held_out_us),
            model_knows_until=manifest.data.last,
        )
        out.finish(found)
        metrics.show(found)
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
            found[1, place] = evaluated.score(inputs)
            if (skipped := max(0, first - done)) < len(inputs):
                found[0, done + skipped : place.stop] = published.score(inputs[skipped:])
            done = place.stop
            bar.advance(len(inputs))
    wanted = np.concatenate([found[0, first:], found[1]])
    if not np.all((wanted >= 0) & (wanted <= 1)):  # nor NaN
        raise ScoringError("the users' model gives a score that is not a probability")
    return _Scores(past, found[0], found[1])


def _table(scores: _Scores, habits: pa.Table, at_us: int, horizon_us: int) -> pa.Table:
    now, before = scores.at(at_us), scores.at(at_us - horizon_us)
    users, past = now.past["user_id"].combine_chunks(), now.past
    earlier = np.full(len(users), np.nan)
    earlier[pc.index_in(before.past["user_id"], value_set=users).to_numpy()] = before.published
    own = habits.take(pc.index_in(users, value_set=habits["user_id"].combine_chunks()))
    columns = [
        users,
        pa.array(now.published.astype(np.float32)),
        pa.array(earlier.astype(np.float32), from_pandas=True),
        pa.array((earlier - now.published).astype(np.float32), from_pandas=True),
        own["gap_days"],
        pa.array((at_us - past["last_us"].to_numpy()) / _DAY_US),
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
