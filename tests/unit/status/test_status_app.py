"""The application on its own: before the first look, after it, and when looking has failed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from reprise.status.app import Poller, StatusMetrics, create_app
from reprise.status.page import CONTENT_SECURITY_POLICY
from reprise.status.report import Report
from reprise.status.scrape.snapshot import Snapshot
from reprise.status.settings import StatusSettings
from support.seen_platform import healthy


async def nowhere(host: str, port: int) -> list[str]:
    return []


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    settings = StatusSettings.load(targets="producer=http://p:8001", title="shop <1>", interval_seconds=0.2)
    with TestClient(create_app(settings, nowhere)) as client:
        while client.get("/ready").status_code != 200:
            pass
        yield client


@pytest.mark.parametrize("path", ["/", "/status"])
def test_the_page_is_at_two_addresses_with_its_own_policy(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers.get_list("content-security-policy") == [CONTENT_SECURITY_POLICY]
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "No producer answers: there is none." in answer.text
    assert "shop &lt;1&gt;" in answer.text


def test_below_a_root_path_the_page_is_at_the_prefix_and_its_link_stays_below_it() -> None:
    settings = StatusSettings.load(
        targets="producer=http://p:8001", api_root_path="/reprise", interval_seconds=0.2
    )
    with TestClient(create_app(settings, nowhere)) as client:
        while client.get("/ready").status_code != 200:
            pass
        for path in ("/", "/status", "/reprise", "/reprise/", "/reprise/status", "/repris%65/status"):
            page = client.get(path)
            assert page.status_code == 200
            assert page.headers.get_list("content-security-policy") == [CONTENT_SECURITY_POLICY]
            assert 'href="/reprise/status.json"' in page.text
        Report.model_validate_json(client.get("/reprise/status.json").content)
        assert client.get("/reprises").status_code == 404


def test_json_tells_the_same(client: TestClient) -> None:
    answer = client.get("/status.json")
    assert answer.headers["content-type"] == "application/json"
    assert "default-src 'none'; frame-ancestors" in answer.headers["content-security-policy"]
    report = Report.model_validate_json(answer.content)
    assert report.verdict.level == "bad"
    assert report.title == "shop <1>"


def test_the_level_of_the_platform_is_a_metric(client: TestClient) -> None:
    assert 'reprise_status_verdict{level="bad"} 1.0' in client.get("/metrics").text


def test_before_the_first_look_is_over_it_says_so() -> None:
    async def slow(host: str, port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    settings = StatusSettings.load(targets="producer=http://p:8001")
    with TestClient(create_app(settings, slow)) as client:
        assert "first poll" in client.get("/ready").json()["detail"]
        page = client.get("/")
        assert (page.status_code, page.headers["retry-after"]) == (503, "1")
        assert "Looking for the first time" in page.text
        assert client.get("/status.json").status_code == 503


def test_looking_that_breaks_ends_the_process_rather_than_show_the_same_for_ever() -> None:
    async def broken(host: str, port: int) -> list[str]:
        raise RuntimeError("a bug")

    ended: list[bool] = []
    app = create_app(
        StatusSettings.load(targets="producer=http://p:8001"), broken, lambda: ended.append(True)
    )
    with capture_logs() as logs, TestClient(app) as client:
        while not ended:
            client.get("/health")
        assert client.get("/ready").json()["detail"] == "polling the services has failed"
    assert ended == [True]
    assert app.state.poller.failed
    assert "watch_failed" in [line["event"] for line in logs]


def watch(look: Callable[[], Awaitable[Snapshot]], clock: Callable[[], float] = lambda: 0.0) -> Poller:
    settings = StatusSettings.load(history_seconds=120, interval_seconds=12)
    return Poller(look, settings, StatusMetrics(CollectorRegistry()), lambda: None, clock)


async def test_each_look_adds_to_what_came_before() -> None:
    times = iter(range(0, 1000, 5))
    now = 0.0

    async def look() -> Snapshot:
        nonlocal now
        now = float(next(times))
        return healthy(now)

    watched = watch(look, lambda: now)
    await watched.poll()
    assert watched.report is not None
    assert watched.report.value("request_rate") is None
    for _ in range(30):
        await watched.poll()
    assert watched.report.value("request_rate") == 20
    assert len(watched.report.curves["lag"]) == 10


async def test_a_verdict_is_logged_when_it_changes_and_only_then() -> None:
    async def look() -> Snapshot:
        return healthy(0)

    watched = watch(look)
    with capture_logs() as logs:
        await watched.poll()
        await watched.poll()
    assert [line["sentence"] for line in logs if line["event"] == "verdict"] == ["Everything is ready."]
