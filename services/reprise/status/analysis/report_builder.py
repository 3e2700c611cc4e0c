"""From a snapshot and the history to the report."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from reprise.routing import BASELINE, BUCKETS, RoutingReport
from reprise.status.analysis.figures import CURVES, RECENT_SECONDS, figure, figures, unavailable
from reprise.status.analysis.findings import overall_status
from reprise.status.analysis.history import History
from reprise.status.formatting import count, plain
from reprise.status.report import Arm, Figure, Job, Model, Process, Report, Rollout, Service
from reprise.status.scrape.exposition import Samples
from reprise.status.scrape.snapshot import ProcessSnapshot, ServiceSnapshot, Snapshot

TRAINER = "reprise-trainer"
OUTCOMES = "reprise-outcomes"
BACKFILL = "reprise-backfill"
SCORING = "reprise-scoring"
DEMAND = "reprise-demand"
RETENTION = "reprise-retention"
_ANSWERS = "reprise_predictor_arm_answers_total"
_PSI = "reprise_predictor_score_psi"
TITLES = {
    TRAINER: "Training",
    OUTCOMES: "Outcomes",
    BACKFILL: "Backfill",
    SCORING: "Scores",
    DEMAND: "Demand",
    RETENTION: "Users",
}
_AUC = {"measure": "roc_auc", "slice": "overall", "scorer": "model"}
_NOTES: Mapping[str, Sequence[tuple[str, Mapping[str, str], Callable[[float], str]]]] = {
    TRAINER: [
        ("reprise_trainer_evaluation", _AUC, "AUC {:.3f}".format),
        ("reprise_trainer_events", {}, lambda events: f"from {count(events, 'event')}"),
    ],
    SCORING: [("reprise_scoring_pairs", {}, lambda pairs: count(pairs, "pair"))],
    DEMAND: [
        ("reprise_demand_units", {}, lambda units: f"{count(round(units), 'unit')} expected"),
        ("reprise_demand_backtest_wape", {"method": "forecast"}, "WAPE {:.1%}".format),
    ],
    RETENTION: [
        ("reprise_retention_users", {}, lambda users: count(users, "user")),
        ("reprise_retention_users_at_risk", {}, lambda users: f"{plain(users)} at risk"),
    ],
}
"""Metrics that a job pushes, with their labels, and what the page says of their value."""

NIGHTLY_JOBS = (SCORING, DEMAND, RETENTION)
"""Jobs of shops that want them; they are left out where they have not run."""


def build_report(snapshot: Snapshot, history: History, title: str, interval_seconds: float) -> Report:
    """Return the report, and add the values of its curves to the history.

    The history already has this snapshot. ``title`` is shown beside the name.
    """
    found = figures(snapshot, history)
    history.set_values({name: found[name].value for name in CURVES})
    model, model_unknown = _model(snapshot)
    report = Report(
        title=title,
        at=datetime.fromtimestamp(snapshot.at, UTC),
        every_seconds=interval_seconds,
        covers_seconds=history.seconds,
        services=tuple(_service(service, snapshot.at) for service in snapshot.services),
        figures=found,
        curves={name: history.curve(name) for name in CURVES},
        model=model,
        model_unknown=model_unknown,
        refused_model=next(
            (
                labels["digest"]
                for labels, value in snapshot.series("predictor", "reprise_predictor_model_refused")
                if value == 1
            ),
            None,
        ),
        arms=_arms(snapshot, history, model),
        rollout=_rollout(snapshot),
        jobs=tuple(
            job
            for name, job_title in TITLES.items()
            if not (job := _job(snapshot, name, job_title)).unknown or name not in NIGHTLY_JOBS
        ),
    )
    return report.model_copy(update={"verdict": overall_status(report, snapshot)})


def _service(service: ServiceSnapshot, now: float) -> Service:
    processes = tuple(_process(process, now) for process in service.processes)
    return Service(
        name=service.name,
        processes=processes,
        answering=len(service.answering),
        ready=sum(process.ready for process in processes),
        problem="; ".join(service.problems) or None,
    )


def _process(process: ProcessSnapshot, now: float) -> Process:
    if process.samples is None:
        return Process(address=process.address, ready=False, reason=process.problem)
    versions = (labels["version"] for labels, _ in process.samples.all("reprise_build_info"))
    return Process(
        address=process.address,
        version=next(versions, "version not reported"),
        up_seconds=process.age(now),
        ready=process.ready,
        reason=process.reason,
    )


def _model(snapshot: Snapshot) -> tuple[Model | None, str | None]:
    digests = Counter(
        process.model for process in snapshot.answering("predictor") if process.model is not None
    )
    if not digests:
        return None, unavailable(snapshot, "predictor") or "no predictor has a model"
    digest = digests.most_common(1)[0][0]
    info = snapshot.models.get(digest)
    if info is None:
        return Model(digest=digest, auc=Figure(unit="auc", unknown="no predictor reports it")), None
    auc = figure(info.auc, "auc", None, "the held-out rows leave it undefined")
    return Model(**{**info.model_dump(), "auc": auc}), None


def _arms(snapshot: Snapshot, history: History, only: Model | None) -> tuple[Arm, ...]:
    recent = history.window(RECENT_SECONDS)
    predictors = snapshot.answering("predictor")
    away = unavailable(snapshot, "predictor")
    no_rate = unavailable(snapshot, "predictor", recent)

    def arm(name: str, digest: str, label: str, **given: Any) -> Arm:
        # Each process has its own scores, and the worst counts.
        found = [value for _, value in snapshot.series("predictor", _PSI, arm=label, digest=digest)]
        psi = figure(max(found, default=None), "psi", away, "fewer than 500 scores in the last hour")
        answers = figure(recent.rate(_ANSWERS, arm=label, digest=digest), "1/s", no_rate)
        return Arm(name=name, digest=digest, of=len(predictors), answers=answers, psi=psi, **given)

    newest = _newest(snapshot)
    if newest is None or not newest.arms:
        if only is None:
            return ()
        loaded = sum(process.model == only.digest for process in predictors)
        return (arm("everybody", only.digest, BASELINE, share=1.0, loaded=loaded),)
    arms = []
    for own in newest.arms:
        states = [
            (each.state, each.reason)
            for process in predictors
            for each in (process.routing.arms if process.routing is not None else ())
            if (each.name, each.digest) == (own.name, own.digest)
        ]
        reasons = (reason or "its model is being loaded" for state, reason in states if state != "loaded")
        loaded = sum(state == "loaded" for state, _ in states)
        share, reason = own.weight / BUCKETS, next(reasons, None)
        arms.append(
            arm(own.name, own.digest, own.name, share=share, loaded=loaded, shadow=own.shadow, reason=reason)
        )
    return tuple(arms)


def _rollout(snapshot: Snapshot) -> Rollout:
    predictors = snapshot.answering("predictor")
    refused = next((p.routing.refused for p in predictors if p.routing and p.routing.refused), None)
    newest = _newest(snapshot)
    if newest is None:
        return Rollout(of=len(predictors), refused=refused)
    return Rollout(
        rollout=newest.rollout,
        generation=newest.generation,
        acknowledged=sum(
            p.routing is not None and p.routing.generation == newest.generation for p in predictors
        ),
        of=len(predictors),
        refused=refused,
    )


def _newest(snapshot: Snapshot) -> RoutingReport | None:
    """Return the report of a predictor that has applied the newest generation, ``None`` if none has applied any."""
    reports = (process.routing for process in snapshot.answering("predictor"))
    applied = [report for report in reports if report is not None and report.generation is not None]
    return max(applied, key=lambda report: report.generation or 0, default=None)


def _job(snapshot: Snapshot, name: str, title: str) -> Job:
    if snapshot.jobs is None:
        return Job(name=name, title=title, unknown=snapshot.jobs_problem)
    ended = snapshot.jobs.one("reprise_job_end_timestamp_seconds", job=name)
    if ended is None:
        return Job(name=name, title=title, unknown="it has not run since the Pushgateway began")
    succeeded = snapshot.jobs.one("reprise_job_last_success_timestamp_seconds", job=name)
    return Job(
        name=name,
        title=title,
        ended_at=datetime.fromtimestamp(ended, UTC),
        took_seconds=snapshot.jobs.one("reprise_job_duration_seconds", job=name),
        succeeded_at=None if succeeded is None else datetime.fromtimestamp(succeeded, UTC),
        failed=snapshot.jobs.one("reprise_job_failed", job=name) == 1,
        notes=tuple(_notes(snapshot.jobs, name)),
    )


def _notes(jobs: Samples, name: str) -> Iterator[str]:
    """Yield what a job did, as far as it has pushed it."""
    if name == OUTCOMES:
        checked, wrong = jobs.one("reprise_outcomes_checked_values"), jobs.one("reprise_outcomes_mismatches")
        if checked is not None and wrong is not None:
            yield f"{count(checked, 'feature')} recomputed, {plain(wrong)} of them differ"
    if name == BACKFILL and (rows := [value for _, value in jobs.all("reprise_backfill_rows")]):
        yield f"wrote {count(sum(rows), 'row')}"
    for metric, labels, note in _NOTES.get(name, ()):
        value = jobs.one(metric, **labels)
        if value is not None:
            yield note(value)
