"""From a snapshot and the history to the report."""

from datetime import UTC, datetime

from reprise.status.analysis import deployed_models
from reprise.status.analysis.figures import CURVES, figures
from reprise.status.analysis.findings import overall_status
from reprise.status.analysis.history import History
from reprise.status.formatting import count, plain
from reprise.status.report import Job, Process, Report, Service
from reprise.status.scrape.exposition import Samples
from reprise.status.scrape.snapshot import ProcessSnapshot, ServiceSnapshot, Snapshot

TRAINER = "reprise-trainer"
OUTCOMES = "reprise-outcomes"
BACKFILL = "reprise-backfill"
TITLES = {TRAINER: "Training", OUTCOMES: "Outcomes", BACKFILL: "Backfill"}


def build_report(snapshot: Snapshot, history: History, title: str, interval_seconds: float) -> Report:
    """Return the report, and add the values of its curves to the history.

    The history already has this snapshot. ``title`` is shown beside the name.
    """
    found = figures(snapshot, history)
    history.set_values({name: found[name].value for name in CURVES})
    model, model_unknown = deployed_models.model(snapshot)
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
        arms=deployed_models.arms(snapshot, history),
        rollout=deployed_models.rollout(snapshot),
        jobs=tuple(_job(snapshot, name, job_title) for name, job_title in TITLES.items()),
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


def _notes(jobs: Samples, name: str) -> list[str]:
    if name == TRAINER:
        auc = jobs.one("reprise_trainer_evaluation", measure="roc_auc", slice="overall", scorer="model")
        events = jobs.one("reprise_trainer_events")
        return [
            *([f"AUC {auc:.3f}"] if auc is not None else []),
            *([f"from {count(events, 'event')}"] if events is not None else []),
        ]
    if name == BACKFILL:
        rows = [rows for _, rows in jobs.all("reprise_backfill_rows")]
        return [f"wrote {count(sum(rows), 'row')}"] if rows else []
    checked, wrong = jobs.one("reprise_outcomes_checked_values"), jobs.one("reprise_outcomes_mismatches")
    if checked is None or wrong is None:
        return []
    return [f"{count(checked, 'feature')} recomputed, {plain(wrong)} of them differ"]
