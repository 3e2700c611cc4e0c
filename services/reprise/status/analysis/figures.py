"""The numbers of the page, from a look and from those before it."""

import math
from collections import defaultdict
from collections.abc import Iterator

from reprise.status.analysis.history import Allowed, History, Window, quantile, share_above
from reprise.status.report import Figure, Unit
from reprise.status.scrape.exposition import Samples
from reprise.status.scrape.snapshot import Snapshot

RECENT_SECONDS = 60.0
"""What rates and quantiles are of."""

DEAD_LETTER_SECONDS = 600.0
"""Dead letters older than this are told, and are no reason for alarm."""

OURS = frozenset(
    {
        "internal-error",
        "unreadable-state",
        "deadline-exceeded",
        "no-model",
        "overloaded",
        "store-unavailable",
    }
)
"""Outcomes of requests that are failures of ours, as the alerts count them."""

SLOW_SECONDS = 0.05
"""Single predictions that take longer eat the latency budget, as the alerts count it."""

CURVES = ("request_rate", "latency_p99", "error_share", "freshness_p95", "lag", "fold_rate")
"""The figures whose past is shown."""

_REQUESTS = "reprise_predictor_requests_total"
_SINGLE = "/predict"
_PREDICTIONS = frozenset({_SINGLE, "/predict/batch"})
_FOLDED = "reprise_materializer_events_total"


def figures(look: Snapshot, history: History) -> dict[str, Figure]:
    """Return every figure by its name."""
    recent = history.window(RECENT_SECONDS)
    return {
        **_predictions(look, recent),
        **_freshness(look, recent),
        **_counts(look, history),
        **_parity(look),
    }


def missing(look: Snapshot, service: str) -> str | None:
    """Return why nothing is known from a service; ``None`` where something is."""
    seen = look.service(service)
    if seen is None:
        return f"no {service} is among the targets"
    return None if seen.answering else f"no {service} answers"


def known(value: float | None, unit: Unit, *reasons: str | None) -> Figure:
    """Return a figure, or the first reason why there is none."""
    if value is None or not math.isfinite(value):
        return Figure(unit=unit, unknown=next(reason for reason in (*reasons, "it is not told") if reason))
    return Figure(value=value, unit=unit)


def _predictions(look: Snapshot, recent: Window) -> dict[str, Figure]:
    away = missing(look, "predictor")
    young = None if recent.seconds else "a rate needs two looks"
    nobody = "nobody asked in the last minute"
    # A series that nobody ever asked for is absent: then nothing was asked.
    asked = _or_zero(recent.rate(_REQUESTS, endpoint=_PREDICTIONS), away, young)
    failed = recent.increase(_REQUESTS, endpoint=_PREDICTIONS, outcome=OURS) or 0.0
    of = recent.increase(_REQUESTS, endpoint=_PREDICTIONS)
    took = recent.buckets("reprise_predictor_request_seconds", endpoint=_SINGLE)
    return {
        "request_rate": known(asked, "1/s", away, young),
        "error_share": known(failed / of if of else None, "share", away, young, nobody),
        "latency_p50": known(quantile(0.5, took), "s", away, young, nobody),
        "latency_p99": known(quantile(0.99, took), "s", away, young, nobody),
        "slow_share": known(share_above(SLOW_SECONDS, took), "share", away, young, nobody),
        "store_away": known(_store_away(look), "number", away),
    }


def _freshness(look: Snapshot, recent: Window) -> dict[str, Figure]:
    away = missing(look, "materializer")
    silent = missing(look, "producer")
    young = None if recent.seconds else "a rate needs two looks"
    fresh = recent.buckets("reprise_materializer_freshness_seconds")
    accepted = _or_zero(recent.rate("reprise_producer_events_total", outcome="accepted"), silent, young)
    none = "no event was folded in the last minute"
    return {
        "freshness_p50": known(quantile(0.5, fresh), "s", away, young, none),
        "freshness_p95": known(quantile(0.95, fresh), "s", away, young, none),
        "lag": known(_lag(look, "materializer", "partition"), "events", away, "no partition is assigned yet"),
        "fold_rate": known(recent.rate(_FOLDED, outcome="folded"), "1/s", away, young),
        "read_rate": known(recent.rate(_FOLDED), "1/s", away, young),
        "accept_rate": known(accepted, "1/s", silent, young),
    }


def _counts(look: Snapshot, history: History) -> dict[str, Figure]:
    all_of_it = history.window(math.inf)
    latest = history.window(DEAD_LETTER_SECONDS)

    def count(
        window: Window, service: str, name: str, *, begins_later: bool = False, **of: Allowed
    ) -> Figure:
        away = missing(look, service)
        young = None if window.seconds else "a count needs two looks"
        grown = window.increase(name, **of)
        return known(_or_zero(grown, away, young) if begins_later else grown, "events", away, young)

    logged, lost = "reprise_predictor_logged_total", "reprise_archiver_lost_records_total"
    return {
        "duplicates": count(all_of_it, "materializer", _FOLDED, outcome="duplicate"),
        "replayed": count(all_of_it, "materializer", _FOLDED, outcome="replayed"),
        "dead_letters": count(all_of_it, "materializer", _FOLDED, outcome="invalid"),
        "new_dead_letters": count(latest, "materializer", _FOLDED, outcome="invalid"),
        "rejected": count(
            all_of_it, "producer", "reprise_producer_events_total", begins_later=True, outcome="rejected"
        ),
        "unlogged": count(
            latest, "predictor", logged, begins_later=True, outcome=frozenset({"dropped", "failed"})
        ),
        "archived": count(all_of_it, "archiver", "reprise_archiver_records_total", begins_later=True),
        "archive_lost": count(all_of_it, "archiver", lost, begins_later=True),
        "archive_missing": known(
            _total(look, "archiver", "reprise_archiver_missing_records"), "events", missing(look, "archiver")
        ),
        "archive_lag": known(
            _lag(look, "archiver", "topic", "partition"),
            "events",
            missing(look, "archiver"),
            "no partition is assigned yet",
        ),
    }


def _parity(look: Snapshot) -> dict[str, Figure]:
    reason = look.jobs_problem or "the outcomes job has not run"
    return {
        "mismatches": known(_job(look.jobs, "reprise_outcomes_mismatches"), "number", reason),
        "probability_mismatches": known(
            _job(look.jobs, "reprise_outcomes_probability_mismatches"), "number", reason
        ),
        "checked_values": known(_job(look.jobs, "reprise_outcomes_checked_values"), "number", reason),
    }


def _or_zero(value: float | None, *reasons: str | None) -> float | None:
    return 0.0 if value is None and not any(reasons) else value


def _job(jobs: Samples | None, name: str) -> float | None:
    return None if jobs is None else jobs.one(name)


def _store_away(look: Snapshot) -> float | None:
    seen = look.service("predictor")
    told = [] if seen is None else [up for _, up in seen.all("reprise_predictor_store_up")]
    return float(sum(up == 0 for up in told)) if told else None


def _total(look: Snapshot, service: str, name: str) -> float | None:
    """Return the sum of a gauge over all processes of a service and all labels."""
    seen = look.service(service)
    values = [value for _, value in seen.all(name)] if seen is not None else []
    return sum(values) if values else None


def _lag(look: Snapshot, service: str, *by: str) -> float | None:
    """Return the lag over all partitions; one that two processes hold during a rebalance counts once."""
    largest: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for partition, lag in _lags(look, service, by):
        largest[partition] = max(largest[partition], lag)
    return sum(largest.values()) if largest else None


def _lags(look: Snapshot, service: str, by: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    seen = look.service(service)
    if seen is not None:
        for labels, lag in seen.all(f"reprise_{service}_lag_records"):
            yield tuple(labels[name] for name in by), lag
