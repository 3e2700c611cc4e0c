"""Looks at a platform that does not run, made of pages of metrics as services write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reprise.routing import ArmReport, RoutingReport
from reprise.status.analysis.history import History
from reprise.status.analysis.report_builder import build_report
from reprise.status.report import Report
from reprise.status.scrape.exposition import Samples, parse
from reprise.status.scrape.snapshot import ModelInfo, ProcessSnapshot, ServiceSnapshot, Snapshot

DIGEST = "sha256:" + "ab12" * 16
OTHER = "sha256:" + "cd34" * 16
NOON = 1_790_000_000.0
"""When the first look is."""


def exposed(series: Mapping[str, float]) -> str:
    """Return the page of a process that exposes these series, named as in PromQL."""
    return "".join(f"{name} {value}\n" for name, value in series.items())


def build(service: str) -> dict[str, float]:
    info = f'reprise_build_info{{package="reprise-{service}",python="3.11.2",version="0.1.0"}}'
    return {info: 1, "reprise_ready": 1, "process_start_time_seconds": NOON - 3600}


def predictor(answered: float = 0, **more: float) -> dict[str, float]:
    took = 'reprise_predictor_request_seconds_bucket{endpoint="/predict",le="%s"}'
    return {
        **build("predictor"),
        'reprise_predictor_requests_total{endpoint="/predict",outcome="ok"}': answered,
        'reprise_predictor_requests_total{endpoint="/predict",outcome="store-unavailable"}': 0,
        took % "0.001": 0,
        took % "0.05": answered,
        took % "0.1": answered,
        took % "+Inf": answered,
        "reprise_predictor_store_up": 1,
        f'reprise_predictor_model_info{{digest="{DIGEST}",plan_hash="p",schema_hash="s"}}': 1,
        **more,
    }


def materializer(folded: float = 0, lag: float = 0) -> dict[str, float]:
    fresh = 'reprise_materializer_freshness_seconds_bucket{le="%s"}'
    events = 'reprise_materializer_events_total{outcome="%s"}'
    return {
        **build("materializer"),
        **{events % outcome: 0.0 for outcome in ("replayed", "duplicate", "ignored")},
        events % "folded": folded,
        events % "invalid": 0.0,
        fresh % "0.01": folded,
        fresh % "60.0": folded,
        fresh % "300.0": folded,
        fresh % "+Inf": folded,
        'reprise_materializer_lag_records{partition="0"}': lag,
        'reprise_materializer_lag_records{partition="1"}': 0,
    }


def producer(accepted: float = 0) -> dict[str, float]:
    return {**build("producer"), 'reprise_producer_events_total{outcome="accepted",source="http"}': accepted}


def process(
    series: Mapping[str, float],
    address: str = "10.0.0.1:9090",
    *,
    reason: str | None = None,
    routing: RoutingReport | None = None,
) -> ProcessSnapshot:
    """Return a process that exposes these series, ready unless there is a reason."""
    return ProcessSnapshot(address, parse(exposed(series)), None, reason is None, reason, routing)


def silent(problem: str = "it refuses the connection", address: str = "10.0.0.1:9090") -> ProcessSnapshot:
    return ProcessSnapshot(address, problem=problem)


def routed(generation: int | None, *arms: tuple[str, str, int], state: str = "loaded") -> RoutingReport:
    """Return what a predictor says of a document with these arms: name, digest, basis points."""
    names = ("name", "digest", "weight", "state")
    given = (dict(zip(names, (*arm, state), strict=True)) for arm in arms)
    reports = tuple(ArmReport.model_validate(each, strict=False) for each in given)
    return RoutingReport(
        generation=generation, fingerprint="f", rollout="shop/model", arms=reports, refused=None
    )


def model_info() -> dict[str, object]:
    """Return what a predictor reports about a model."""
    baselines = {"recency": {"roc_auc": 0.78}}
    scores = {"rows": 500, "model": {"roc_auc": 0.83}, "baselines": baselines, "oracle": None}
    return {
        "digest": DIGEST,
        "evaluation": {"overall": scores},
        "data": {"events": 1000, "last": "2026-09-21T00:00:00Z"},
        "training": {"trained_at": "2026-09-21T01:00:00Z"},
        "threshold": 0.3,
    }


def look(
    at: float,
    services: Mapping[str, Iterable[ProcessSnapshot]],
    *,
    jobs: Samples | None = None,
    jobs_problem: str | None = "no Pushgateway is configured",
) -> Snapshot:
    """Return what a look found at so many seconds after noon."""
    seen = tuple(ServiceSnapshot(name, tuple(found)) for name, found in services.items())
    problem = None if jobs is not None else jobs_problem
    return Snapshot(NOON + at, seen, jobs, problem, {DIGEST: ModelInfo.model_validate(model_info())})


def reported(*looks: Snapshot, every: float = 5.0) -> Report:
    history = History(720)
    reports = []
    for each in looks:
        history.add(each.at, each)
        reports.append(build_report(each, history, "", every))
    return reports[-1]


def healthy(at: float, **replaced: Iterable[ProcessSnapshot]) -> Snapshot:
    """Return a look at a platform that answers 20 requests and folds 10 events a second, but for some services."""
    services: dict[str, Iterable[ProcessSnapshot]] = {
        "predictor": [process(predictor(answered=20 * at))],
        "producer": [process(producer(10 * at))],
        "materializer": [process(materializer(10 * at))],
    }
    return look(at, {**services, **replaced})
