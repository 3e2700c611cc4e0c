"""What is wrong, each with the section of docs/operations.md that says what to do.

The thresholds are those of the alerts (charts/reprise/files/rules.yaml). An alert waits until a condition lasts; the
page shows it at once.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta

from reprise.status.analysis.deployed_models import SETTLED_SECONDS
from reprise.status.formatting import count, digest, duration, percent, plain
from reprise.status.report import Finding, Level, OverallStatus, Report

ERROR_SHARE = 14.4 * 0.001
SLOW_SHARE = 14.4 * 0.01
STALE_SECONDS = 30.0
LAG_EVENTS = 5_000.0
ARCHIVE_LAG_RECORDS = 100_000.0
DRIFT_PSI = 0.25
MODEL_OLD = timedelta(days=14)
JOB_MISSED = timedelta(hours=36)

_CRITICAL = frozenset({"predictor", "producer", "materializer"})
"""Services without which events or predictions stop; the others can be away for a while."""

_NOT_READY = "a-service-is-not-ready"


def overall_status(report: Report) -> OverallStatus:
    """Return the level of the platform and its findings, the worst first."""
    found = sorted(
        (finding for rule in RULES for finding in rule(report)), key=lambda each: each.level != "bad"
    )
    if not found:
        return OverallStatus(level="good", sentence="Everything works.")
    return OverallStatus(level=found[0].level, sentence=found[0].sentence, findings=tuple(found))


def _bad(sentence: str, section: str) -> Finding:
    return Finding(level="bad", sentence=sentence, section=section)


def _watch(sentence: str, section: str) -> Finding:
    return Finding(level="watch", sentence=sentence, section=section)


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
            sentence = f"No {name} answers: {_trimmed(reason)}."
            yield Finding(level=level, sentence=sentence, section=_NOT_READY)
            continue
        if silent := total - service.answering:
            yield _watch(f"{silent} of {total} processes of the {name} do not answer.", _NOT_READY)
        unready = [p for p in service.processes if p.version is not None and not p.ready]
        if unready:
            reason = _trimmed(unready[0].reason)
            if service.ready:
                sentence = f"{len(unready)} of {total} processes of the {name} are not ready: {reason}."
                yield _watch(sentence, _NOT_READY)
            else:
                sentence = f"The {name} is not ready: {reason}."
                yield Finding(level=level, sentence=sentence, section=_NOT_READY)


def _predictions(report: Report) -> Iterator[Finding]:
    failed, slow = report.value("error_share"), report.value("slow_share")
    if failed is not None and failed > ERROR_SHARE:
        yield _bad(f"Predictions fail: {percent(failed)} of the last minute's requests.", "predictions-fail")
    if slow is not None and slow > SLOW_SHARE:
        yield _bad(
            f"Predictions are slow: {percent(slow)} of the last minute's took more than 50 ms.",
            "predictions-are-slow",
        )
    unlogged = report.value("unlogged")
    if unlogged:
        yield _watch(
            f"{count(unlogged, 'answer')} of the last ten minutes are missing from the prediction log.",
            "the-prediction-log-loses-answers",
        )


def _features(report: Report) -> Iterator[Finding]:
    accepted, read = report.value("accept_rate"), report.value("read_rate")
    if accepted and read == 0:
        yield _bad(
            f"Features make no progress: {plain(accepted)} events a second arrive, and none is folded.",
            "features-are-stale",
        )
    fresh = report.value("freshness_p95")
    if fresh is not None and fresh > STALE_SECONDS:
        yield _bad(
            f"Features are stale: one event in twenty takes {duration(fresh)} or more until predictions see it.",
            "features-are-stale",
        )
    lag = report.value("lag")
    points = report.curves.get("lag", ())[-max(2, round(900 / report.every_seconds)) : -1]
    quarter_hour_ago = next((point for point in points if point is not None), float("inf"))
    if lag is not None and lag > LAG_EVENTS and lag > quarter_hour_ago:
        yield _watch(f"The lag grows: {count(lag, 'event')} wait to be folded.", "the-lag-grows")


def _records(report: Report) -> Iterator[Finding]:
    letters = report.value("new_dead_letters")
    if letters:
        yield _watch(
            f"{count(letters, 'broken event')} of the last ten minutes went to the dead letters.",
            "dead-letters",
        )
    lost = report.value("archive_lost")
    if lost:
        yield _bad(
            f"The archive lost {count(lost, 'record')}: Kafka had deleted them before.",
            "the-archive-loses-records",
        )
    absent = report.value("archive_missing")
    if absent:
        yield _bad(
            f"The archiver is blocked: {count(absent, 'record')} that it has to read next are deleted.",
            "the-archive-loses-records",
        )
    behind = report.value("archive_lag")
    if behind is not None and behind > ARCHIVE_LAG_RECORDS:
        yield _watch(
            f"The archiver is behind: {count(behind, 'record')} are not archived yet.",
            "the-archive-loses-records",
        )


def _parity(report: Report) -> Iterator[Finding]:
    features, scores = report.value("mismatches"), report.value("probability_mismatches")
    if features:
        yield _bad(
            f"Features do not match: {count(features, 'logged value')} differ from what the offline store gives.",
            "features-do-not-match",
        )
    if scores:
        yield _bad(
            f"Probabilities do not match: {count(scores, 'logged one')} differ from what the model gives.",
            "features-do-not-match",
        )


def _model(report: Report) -> Iterator[Finding]:
    until = report.model.data_until if report.model is not None else None
    if until is not None and report.at - until > MODEL_OLD:
        old = duration((report.at - until).total_seconds())
        yield _watch(f"The model is old: its newest training event is {old} old.", "the-model-is-old")
    settled = any(
        (process.up_seconds or 0) >= SETTLED_SECONDS
        for service in report.services
        if service.name == "predictor"
        for process in service.processes
    )
    for arm in report.arms:
        if settled and arm.psi.value is not None and arm.psi.value > DRIFT_PSI:
            whose = "" if len(report.arms) == 1 else f" of {arm.name}"
            yield _watch(
                f"Scores drift: the last hour's{whose} are distributed differently than in the evaluation"
                f" (index {arm.psi.value:.2f}).",
                "scores-or-features-drift",
            )
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
        missed = job.succeeded_at is not None and report.at - job.succeeded_at > JOB_MISSED
        if missed and job.succeeded_at is not None and job.name != "reprise-backfill":
            ago = duration((report.at - job.succeeded_at).total_seconds())
            section = "the-trainer-did-not-run" if job.name == "reprise-trainer" else "a-job-failed"
            yield _watch(f"{job.title} is overdue: it last succeeded {ago} ago.", section)


RULES: tuple[Callable[[Report], Iterator[Finding]], ...] = (
    _online_store,
    _services,
    _predictions,
    _features,
    _parity,
    _records,
    _rollout,
    _model,
    _jobs,
)
"""By weight: among findings of one level, the first is the headline."""


def _trimmed(reason: str | None) -> str:
    return (reason or "it does not say why").rstrip(". ")
