"""What every service tells Prometheus of itself."""

from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from reprise.http.app import create_http_app
from reprise.http.metrics import process_registry


def app_of(registry: CollectorRegistry, reasons: list[str]) -> TestClient:
    app = create_http_app(
        title="t", version="1", description="d", registry=registry, readiness=lambda: reasons
    )

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


def test_requests_are_timed_by_their_status_and_never_by_their_path() -> None:
    registry = process_registry("reprise-http")
    client = app_of(registry, [])
    for path in ("/things/1", "/things/2", "/nowhere", "/things/broken"):
        client.get(path)
    counted = {
        sample.labels["status"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "reprise_http_request_seconds_count"
    }
    assert counted == {"200": 2, "404": 1, "500": 1}


def test_probes_and_scrapes_are_not_timed() -> None:
    registry = process_registry("reprise-http")
    client = app_of(registry, [])
    for path in ("/health", "/ready", "/metrics"):
        assert client.get(path).status_code == 200
    names = {sample.name for family in registry.collect() for sample in family.samples}
    assert "reprise_http_request_seconds_count" not in names
