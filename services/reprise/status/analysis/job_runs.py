"""The last runs of the jobs, as the Pushgateway keeps them."""

from datetime import UTC, datetime

from reprise.status.formatting import count, plain
from reprise.status.report import Job
from reprise.status.scrape.exposition import Samples
from reprise.status.scrape.snapshot import Snapshot

TRAINER = "reprise-trainer"
OUTCOMES = "reprise-outcomes"
BACKFILL = "reprise-backfill"
TITLES = {TRAINER: "Training", OUTCOMES: "Outcomes", BACKFILL: "Backfill"}


def jobs(look: Snapshot) -> tuple[Job, ...]:
    """Return what is known of every job."""
    return tuple(_job(look, name, title) for name, title in TITLES.items())


def _job(look: Snapshot, name: str, title: str) -> Job:
    if look.jobs is None:
        return Job(name=name, title=title, unknown=look.jobs_problem)
    ended = look.jobs.one("reprise_job_end_timestamp_seconds", job=name)
    if ended is None:
        return Job(name=name, title=title, unknown="it has not run since the Pushgateway began")
    return Job(
        name=name,
        title=title,
        ended_at=_moment(ended),
        took_seconds=look.jobs.one("reprise_job_duration_seconds", job=name),
        succeeded_at=_moment(look.jobs.one("reprise_job_last_success_timestamp_seconds", job=name)),
        failed=look.jobs.one("reprise_job_failed", job=name) == 1,
        notes=tuple(_notes(look.jobs, name)),
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


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
