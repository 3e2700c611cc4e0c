"""The numbers of the page."""

import math

from reprise.status.analysis.history import History, LabelFilter, Window, quantile, share_above
from reprise.status.report import Figure, Unit
from reprise.status.scrape.snapshot import Snapshot

RECENT_SECONDS = 60.0
"""Window of rates and quantiles."""

DEAD_LETTER_SECONDS = 600.0
"""Dead letters older than this are shown without a finding."""

SERVER_ERRORS = frozenset(
    {
        "internal-error",
        "unreadable-state",
        "deadline-exceeded",
        "no-model",
        "overloaded",
        "store-unavailable",
    }
)
"""Outcomes of requests that the service failed, as in the alerts."""

SLOW_SECONDS = 0.05
"""Latency objective of single predictions, as in the alerts."""

CURVES = ("request_rate", "latency_p99", "error_share", "freshness_p95", "lag", "fold_rate")
"""The figures with a curve."""

_REQUESTS = "reprise_predictor_requests_total"
_SINGLE = "/predict"
_PREDICTIONS = frozenset({_SINGLE, "/predict/batch"})
_FOLDED = "reprise_materializer_events_total"


def figures(snapshot: Snapshot, history: History) -> dict[str, Figure]:
    """Return every figure by its name."""
    recent = history.window(RECENT_SECONDS)
    return {
        **_predictions(snapshot, recent),
        **_freshness(snapshot, recent),
        **_counts(snapshot, history),
        **_parity(snapshot),
    }


def unavailable(snapshot: Snapshot, service: str) -> str | None:
    """Return why a service has no metrics; ``None`` if it has some."""
    found = snapshot.service(service)
    if found is None:
        return f"no {service} is among the targets"
    return None if found.answering else f"no {service} answers"


def figure(value: float | None, unit: Unit, *reasons: str | None) -> Figure:
    """Return a figure, or the first reason if it has no finite value."""
    if value is None or not math.isfinite(value):
        return Figure(
            unit=unit, unknown=next(reason for reason in (*reasons, "it is not reported") if reason)
        )
    return Figure(value=value, unit=unit)


def _predictions(snapshot: Snapshot, recent: Window) -> dict[str, Figure]:
    away = unavailable(snapshot, "predictor")
    young = None if recent.seconds else "a rate needs two snapshots"
    reasons = away, young, "no request in the last minute"
    asked = _or_zero(recent.rate(_REQUESTS, endpoint=_PREDICTIONS), away, young)
    failed = recent.increase(_REQUESTS, endpoint=_PREDICTIONS, outcome=SERVER_ERRORS) or 0.0
    total = recent.increase(_REQUESTS, endpoint=_PREDICTIONS)
    buckets = recent.buckets("reprise_predictor_request_seconds", endpoint=_SINGLE)
    store_up = [up for _, up in snapshot.series("predictor", "reprise_predictor_store_up")]
    return {
        "request_rate": figure(asked, "1/s", away, young),
        "error_share": figure(failed / total if total else None, "share", *reasons),
        "latency_p50": figure(quantile(0.5, buckets), "s", *reasons),
        "latency_p99": figure(quantile(0.99, buckets), "s", *reasons),
        "slow_share": figure(share_above(SLOW_SECONDS, buckets), "share", *reasons),
        "store_away": figure(sum(up == 0 for up in store_up) if store_up else None, "number", away),
    }


def _freshness(snapshot: Snapshot, recent: Window) -> dict[str, Figure]:
    away = unavailable(snapshot, "materializer")
    no_producer = unavailable(snapshot, "producer")
    young = None if recent.seconds else "a rate needs two snapshots"
    reasons = away, young, "no event was folded in the last minute"
    buckets = recent.buckets("reprise_materializer_freshness_seconds")
    accepted = recent.rate("reprise_producer_events_total", outcome="accepted")
    return {
        "freshness_p50": figure(quantile(0.5, buckets), "s", *reasons),
        "freshness_p95": figure(quantile(0.95, buckets), "s", *reasons),
        "lag": _lag(snapshot, "materializer", "partition"),
        "fold_rate": figure(recent.rate(_FOLDED, outcome="folded"), "1/s", away, young),
        "read_rate": figure(recent.rate(_FOLDED), "1/s", away, young),
        "accept_rate": figure(_or_zero(accepted, no_producer, young), "1/s", no_producer, young),
    }


def _counts(snapshot: Snapshot, history: History) -> dict[str, Figure]:
    whole = history.window(math.inf)
    latest = history.window(DEAD_LETTER_SECONDS)

    def count(
        window: Window, service: str, name: str, *, or_zero: bool = False, **labels: LabelFilter
    ) -> Figure:
        reasons = unavailable(snapshot, service), None if window.seconds else "a count needs two snapshots"
        increase = window.increase(name, **labels)
        return figure(_or_zero(increase, *reasons) if or_zero else increase, "events", *reasons)

    unlogged = frozenset({"dropped", "failed"})
    missing = [value for _, value in snapshot.series("archiver", "reprise_archiver_missing_records")]
    return {
        "duplicates": count(whole, "materializer", _FOLDED, outcome="duplicate"),
        "replayed": count(whole, "materializer", _FOLDED, outcome="replayed"),
        "dead_letters": count(whole, "materializer", _FOLDED, outcome="invalid"),
        "new_dead_letters": count(latest, "materializer", _FOLDED, outcome="invalid"),
        "rejected": count(
            whole, "producer", "reprise_producer_events_total", or_zero=True, outcome="rejected"
        ),
        "unlogged": count(
            latest, "predictor", "reprise_predictor_logged_total", or_zero=True, outcome=unlogged
        ),
        "archived": count(whole, "archiver", "reprise_archiver_records_total", or_zero=True),
        "archive_lost": count(whole, "archiver", "reprise_archiver_lost_records_total", or_zero=True),
        "archive_missing": figure(
            sum(missing) if missing else None, "events", unavailable(snapshot, "archiver")
        ),
        "archive_lag": _lag(snapshot, "archiver", "topic", "partition"),
    }


def _parity(snapshot: Snapshot) -> dict[str, Figure]:
    reason = snapshot.jobs_problem or "the outcomes job has not run"
    return {
        name: figure(None if snapshot.jobs is None else snapshot.jobs.one(metric), "number", reason)
        for name, metric in {
            "mismatches": "reprise_outcomes_mismatches",
            "probability_mismatches": "reprise_outcomes_probability_mismatches",
            "checked_values": "reprise_outcomes_checked_values",
        }.items()
    }


def _or_zero(value: float | None, *reasons: str | None) -> float | None:
    """Return 0 for a series that is absent because nothing was counted yet."""
    return 0.0 if value is None and not any(reasons) else value


def _lag(snapshot: Snapshot, service: str, *by: str) -> Figure:
    """Return the lag over all partitions; a partition of two processes during a rebalance counts once."""
    largest: dict[tuple[str, ...], float] = {}
    for labels, lag in snapshot.series(service, f"reprise_{service}_lag_records"):
        partition = tuple(labels[name] for name in by)
        largest[partition] = max(largest.get(partition, 0.0), lag)
    reasons = unavailable(snapshot, service), "no partition is assigned yet"
    return figure(sum(largest.values()) if largest else None, "events", *reasons)
