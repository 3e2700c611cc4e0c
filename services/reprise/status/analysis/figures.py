"""The numbers of the page."""

import math

from reprise.status.analysis.history import History, Window
from reprise.status.report import Figure, Unit
from reprise.status.scrape.snapshot import Snapshot

RECENT_SECONDS = 60.0
"""Window of rates and quantiles."""

SERVER_ERRORS = frozenset(
    ("internal-error", "unreadable-state", "deadline-exceeded", "no-model", "overloaded", "store-unavailable")
)
"""Outcomes of requests that the service failed, as in the alerts."""

CURVES = ("request_rate", "latency_p99", "error_share", "freshness_p95", "lag", "fold_rate")
"""The figures with a curve."""

_REQUESTS = "reprise_predictor_requests_total"
_SINGLE = "/predict"
_PREDICTIONS = frozenset({_SINGLE, "/predict/batch", "/rank", "/users/buy-again"})
_FOLDED = "reprise_materializer_events_total"
_REFUSED = frozenset({"invalid", "early", "late", "failed"})
_RECEIVED = "reprise_producer_events_total"
_NO_REQUEST = "no request in the last minute"


def figures(snapshot: Snapshot, history: History) -> dict[str, Figure]:
    """Return every figure by its name."""
    return {**_recent(snapshot, history), **_counts(snapshot, history), **_latest(snapshot)}


def unavailable(snapshot: Snapshot, service: str, recent: Window | None = None) -> str | None:
    """Return why a service has no metrics, or no rates in a window; ``None`` if it has some."""
    found = snapshot.service(service)
    if found is None:
        return f"no {service} is among the targets"
    if not found.answering:
        return f"no {service} answers"
    return None if recent is None or recent.seconds else "a rate needs two snapshots"


def figure(value: float | None, unit: Unit, away: str | None, absent: str = "it is not reported") -> Figure:
    """Return a figure, or why it is unknown: ``away`` if that is a reason, ``absent`` if it has no finite value."""
    if away is None and value is not None and math.isfinite(value):
        return Figure(value=value, unit=unit)
    return Figure(unit=unit, unknown=away or absent)


def _recent(snapshot: Snapshot, history: History) -> dict[str, Figure]:
    recent = history.window(RECENT_SECONDS)
    failed = recent.increase(_REQUESTS, endpoint=_PREDICTIONS, outcome=SERVER_ERRORS)
    total = recent.increase(_REQUESTS, endpoint=_PREDICTIONS)

    def recently(value: float | None, unit: Unit, service: str, absent: str = "it is not reported") -> Figure:
        return figure(value, unit, unavailable(snapshot, service, recent), absent)

    def latency(q: float) -> Figure:
        value = recent.quantile(q, "reprise_predictor_request_seconds", endpoint=_SINGLE)
        return recently(value, "s", "predictor", _NO_REQUEST)

    def freshness(q: float) -> Figure:
        value = recent.quantile(q, "reprise_materializer_freshness_seconds")
        return recently(value, "s", "materializer", "no event was folded in the last minute")

    return {
        "request_rate": recently(recent.rate(_REQUESTS, endpoint=_PREDICTIONS), "1/s", "predictor"),
        "error_share": recently(failed / total if total else None, "share", "predictor", _NO_REQUEST),
        "latency_p50": latency(0.5),
        "latency_p99": latency(0.99),
        "freshness_p50": freshness(0.5),
        "freshness_p95": freshness(0.95),
        "fold_rate": recently(recent.rate(_FOLDED, outcome="folded"), "1/s", "materializer"),
        "accept_rate": recently(recent.rate(_RECEIVED, outcome="accepted"), "1/s", "producer"),
    }


def _counts(snapshot: Snapshot, history: History) -> dict[str, Figure]:
    whole = history.window(math.inf)
    young = None if whole.seconds else "a count needs two snapshots"

    def counted(service: str, metric: str, **outcome: str | frozenset[str]) -> Figure:
        value = whole.increase(metric, **outcome)
        # What was counted before a service went away stays known.
        return figure(value, "events", None if value else unavailable(snapshot, service) or young)

    return {
        "duplicates": counted("materializer", _FOLDED, outcome="duplicate"),
        "replayed": counted("materializer", _FOLDED, outcome="replayed"),
        "dead_letters": counted("materializer", _FOLDED, outcome=_REFUSED),
        "rejected": counted("producer", _RECEIVED, outcome="rejected"),
        "archived": counted("archiver", "reprise_archiver_records_total"),
        "archive_lost": counted("archiver", "reprise_archiver_lost_records_total"),
    }


def _latest(snapshot: Snapshot) -> dict[str, Figure]:
    predictor, archiver = unavailable(snapshot, "predictor"), unavailable(snapshot, "archiver")
    store_up = [up for _, up in snapshot.series("predictor", "reprise_predictor_store_up")]
    missing = [value for _, value in snapshot.series("archiver", "reprise_archiver_missing_records")]

    def pushed(metric: str) -> Figure:
        value = None if snapshot.jobs is None else snapshot.jobs.one(metric)
        return figure(value, "number", snapshot.jobs_problem, "the outcomes job has not run")

    return {
        "store_away": figure(sum(up == 0 for up in store_up) if store_up else None, "number", predictor),
        "archive_missing": figure(sum(missing) if missing else None, "events", archiver),
        "lag": _lag(snapshot, "materializer"),
        "archive_lag": _lag(snapshot, "archiver"),
        "mismatches": pushed("reprise_outcomes_mismatches"),
        "probability_mismatches": pushed("reprise_outcomes_probability_mismatches"),
        "checked_values": pushed("reprise_outcomes_checked_values"),
    }


def _lag(snapshot: Snapshot, service: str) -> Figure:
    """Return the lag over all partitions; a partition of two processes during a rebalance counts once."""
    largest: dict[tuple[tuple[str, str], ...], float] = {}
    for labels, lag in snapshot.series(service, f"reprise_{service}_lag_records"):
        partition = tuple(labels.items())
        largest[partition] = max(largest.get(partition, 0.0), lag)
    total = sum(largest.values()) if largest else None
    return figure(total, "events", unavailable(snapshot, service), "no partition is assigned yet")
