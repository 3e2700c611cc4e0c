"""What is wrong, each with the section of docs/operations.md that says what to do.

The page itself finds what needs no threshold: what is away, not ready, refused, failed or different. Thresholds are
those of the alerts (charts/reprise/files/rules.yaml), which Prometheus evaluates.
"""

from collections.abc import Callable, Container, Iterator
from functools import partial

from reprise.status.formatting import count, digest, plain
from reprise.status.report import Finding, Level, OverallStatus, Report
from reprise.status.scrape.snapshot import Snapshot

_CRITICAL = frozenset({"predictor", "producer", "materializer"})
"""Services without which events or predictions stop; the others can be away for a while."""

_NOT_READY = "a-service-is-not-ready"

_COUNTED = {
    "mismatches": (
        "features-do-not-match",
        "logged value",
        "Features do not match: {} differ from what the offline store gives.",
    ),
    "probability_mismatches": (
        "features-do-not-match",
        "logged one",
        "Probabilities do not match: {} differ from what the model gives.",
    ),
    "archive_lost": (
        "the-archive-loses-records",
        "record",
        "The archive lost {}: Kafka had deleted them before.",
    ),
    "archive_missing": (
        "the-archive-loses-records",
        "record",
        "The archiver is blocked: {} that it has to read next are deleted.",
    ),
}
"""Figures that must be 0: the runbook's section, the noun of the number, and the sentence with both."""

_NEVER_COVERED = frozenset(
    {
        "RepriseOutcomesMissed",
        "RepriseRolloutReconcileFails",
        "RepriseArchiverBehind",
        "RepriseArchiverMissing",
    }
)
"""Alerts that no finding of the page says, although one has the same section of the runbook."""


def overall_status(report: Report, snapshot: Snapshot) -> OverallStatus:
    """Return the level of the platform and its findings, the worst first.

    An alert is left out if a finding of the page says it: has the same section of the runbook and is as severe.
    """
    own = [finding for rule in RULES for finding in rule(report)]
    covered = {(finding.section, level) for finding in own for level in (finding.level, "watch")}
    found = own + list(_alerts(snapshot, covered))
    if snapshot.alerts_problem is not None:
        found.append(_watch(f"The alerts are not known: {snapshot.alerts_problem}.", _NOT_READY))
    found.sort(key=lambda each: each.level != "bad")
    if not found:
        well = "Everything is ready." if snapshot.alerts is None else "Everything works."
        return OverallStatus(level="good", sentence=well)
    return OverallStatus(level=found[0].level, sentence=found[0].sentence, findings=tuple(found))


def _alerts(snapshot: Snapshot, covered: Container[tuple[str, Level]]) -> Iterator[Finding]:
    """Yield a finding for each alert that is not covered; one if it fires for several label sets."""
    for alert in {alert.name: alert for alert in snapshot.alerts or ()}.values():
        if alert.name in _NEVER_COVERED or (alert.section, alert.level) not in covered:
            yield _finding(alert.level, f"{alert.summary}.", alert.section)


def _finding(level: Level, sentence: str, section: str) -> Finding:
    return Finding(level=level, sentence=sentence, section=section)


_bad = partial(_finding, "bad")
_watch = partial(_finding, "watch")


def _online_store(report: Report) -> Iterator[Finding]:
    away = report.value("store_away") or 0
    of = sum(service.answering for service in report.services if service.name == "predictor")
    if away:
        who = "the predictor gets" if of == 1 else f"{plain(away)} of {of} predictors get"
        yield _bad(f"Redis is unavailable: {who} no answer from it.", "the-online-store-is-away")


def _services(report: Report) -> Iterator[Finding]:
    for service in report.services:
        level: Level = "bad" if service.name in _CRITICAL else "watch"
        name, total = service.name, len(service.processes)
        if not service.answering:
            reason = service.processes[0].reason if service.processes else service.problem or "there is none"
            yield _finding(level, f"No {name} answers: {_trimmed(reason)}.", _NOT_READY)
            continue
        if silent := total - service.answering:
            yield _watch(f"{silent} of {total} processes of the {name} do not answer.", _NOT_READY)
        unready = [p for p in service.processes if p.version is not None and not p.ready]
        if unready:
            reason = _trimmed(unready[0].reason)
            who = (
                f"{len(unready)} of {total} processes of the {name} are"
                if service.ready
                else f"The {name} is"
            )
            yield _finding("watch" if service.ready else level, f"{who} not ready: {reason}.", _NOT_READY)


def _counted(report: Report) -> Iterator[Finding]:
    for name, (section, noun, sentence) in _COUNTED.items():
        if value := report.value(name):
            yield _bad(sentence.format(count(value, noun)), section)


def _model(report: Report) -> Iterator[Finding]:
    for arm in report.arms:
        if arm.loaded < arm.of and arm.reason is not None:
            yield _watch(
                f"{arm.of - arm.loaded} of {arm.of} predictors have not loaded the model of {arm.name}: "
                f"{_trimmed(arm.reason)}.",
                "a-model-is-refused",
            )
    if report.refused_model is not None:
        yield _watch(
            f"A model is refused: {digest(report.refused_model)} is not loaded, and the previous one stays.",
            "a-model-is-refused",
        )


def _rollout(report: Report) -> Iterator[Finding]:
    rollout = report.rollout
    if rollout.generation is not None and rollout.acknowledged < rollout.of:
        yield _watch(
            f"{rollout.of - rollout.acknowledged} of {rollout.of} predictors have not applied generation"
            f" {rollout.generation} of the rollout.",
            "a-rollout-is-stuck",
        )
    if rollout.refused is not None:
        yield _watch(
            f"A predictor refuses the routing document: {_trimmed(rollout.refused)}.", "a-rollout-is-stuck"
        )


def _jobs(report: Report) -> Iterator[Finding]:
    for job in report.jobs:
        if job.failed:
            yield _watch(f"{job.title} failed: its last run did not reach its end.", "a-job-failed")


RULES: tuple[Callable[[Report], Iterator[Finding]], ...] = (
    _online_store,
    _services,
    _counted,
    _rollout,
    _model,
    _jobs,
)
"""By weight: among findings of one level, the first is the headline."""


def _trimmed(reason: str | None) -> str:
    return (reason or "it does not say why").rstrip(". ")
