"""What every service tells Prometheus of itself and its dependencies, and the histogram of the hot path."""

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest

from reprise.http.app import create_http_app
from reprise.http.metrics import DependencyMetrics, LoopHistogram, process_registry

BOUNDS = (0.001, 0.25, 1.0, 5.0)
AMOUNTS = st.floats(0, 10) | st.sampled_from(BOUNDS)
disable_created_metrics()  # type: ignore[no-untyped-call]


def app_of(registry: CollectorRegistry, reasons: list[str]) -> TestClient:
    app = create_http_app(title="t", description="d", registry=registry, readiness=lambda: reasons)

    @app.get("/things/{name}")
    async def thing(name: str) -> str:
        if name == "broken":
            raise RuntimeError
        return name

    return TestClient(app, raise_server_exceptions=False)


def test_readiness_is_a_metric_that_follows_what_ready_says() -> None:
    registry, reasons = process_registry("reprise-http"), ["the store is away"]
    app_of(registry, reasons)
    assert registry.get_sample_value("reprise_ready") == 0
    reasons.clear()
    assert registry.get_sample_value("reprise_ready") == 1


def test_requests_but_probes_and_scrapes_are_timed_by_their_status_and_never_by_their_path() -> None:
    registry = process_registry("reprise-http")
    client = app_of(registry, [])
    for path in ("/health", "/ready", "/metrics", "/things/1", "/things/2", "/nowhere", "/things/broken"):
        client.get(path)
    counted = {
        sample.labels["status"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "reprise_http_request_seconds_count"
    }
    assert counted == {"200": 2, "404": 1, "500": 1}


def test_durations_of_successes_and_failures_are_counted_by_dependency() -> None:
    registry = CollectorRegistry()
    metrics = DependencyMetrics(registry)
    store = metrics.of("online_store")
    metrics.of("event_log")
    with store.timed():
        pass
    with pytest.raises(OSError, match="away"), store.timed():
        raise ConnectionResetError("away")
    for dependency, calls in (("online_store", 2), ("event_log", 0)):
        labels = {"dependency": dependency}
        assert registry.get_sample_value("reprise_dependency_seconds_count", labels) == calls
    failures = {"dependency": "online_store", "kind": "ConnectionResetError"}
    assert registry.get_sample_value("reprise_dependency_errors_total", failures) == 1


@given(st.lists(st.lists(AMOUNTS, max_size=9), max_size=3))
def test_histogram_exposes_what_the_clients_own_would_one_by_one_and_many_at_once(
    blocks: list[list[float]],
) -> None:
    ours, at_once, theirs = CollectorRegistry(), CollectorRegistry(), CollectorRegistry()
    observe = LoopHistogram("took", "Time.", ("stage",), BOUNDS, ours).of("read")
    observe_many = LoopHistogram("took", "Time.", ("stage",), BOUNDS, at_once).many_of("read")
    histogram = Histogram("took", "Time.", ("stage",), buckets=BOUNDS, registry=theirs).labels("read")
    for block in blocks:
        observe_many(block)
        for amount in block:
            observe(amount)
            histogram.observe(amount)
    assert generate_latest(ours) == generate_latest(theirs)
    for sample in next(iter(theirs.collect())).samples:
        assert at_once.get_sample_value(sample.name, sample.labels) == pytest.approx(sample.value)


def test_labels_are_told_apart_counted_together_and_can_be_removed() -> None:
    registry = CollectorRegistry()
    histogram = LoopHistogram("took", "Time.", ("arm", "digest"), BOUNDS, registry)
    for digest in ("1", "2", "2"):
        histogram.of("a", digest)(0.5)
    histogram.remove("a", "1")
    assert registry.get_sample_value("took_count", {"arm": "a", "digest": "1"}) is None
    assert registry.get_sample_value("took_count", {"arm": "a", "digest": "2"}) == 2
