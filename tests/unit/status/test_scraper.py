"""Asking services that answer as they do, or do not, over a transport of our own."""

from collections.abc import Callable

import httpx
import orjson
import pytest
from prometheus_client import CollectorRegistry

from reprise.status.app import StatusMetrics
from reprise.status.scrape.exposition import UnreadableError
from reprise.status.scrape.scraper import Scraper
from reprise.status.scrape.snapshot import ProcessSnapshot, Snapshot
from reprise.status.settings import StatusSettings
from support.seen_platform import DIGEST, exposed, model_info, predictor, producer, routed

Answer = httpx.Response | Exception | Callable[[], httpx.Response]


class Platform:
    """Answers by address; what it has no answer for refuses the connection."""

    def __init__(self, **hosts: list[str]) -> None:
        self.hosts = hosts
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> list[str]:
        if host not in self.hosts:
            raise UnreadableError(f"nothing has the name {host}")
        return self.hosts[host]

    def handle(self, request: httpx.Request) -> httpx.Response:
        address = str(request.url).removeprefix("http://")
        self.asked.append(address)
        answer = self.answers.get(address)
        if answer is None:
            raise httpx.ConnectError("refused")
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else httpx.Response(answer.status_code, content=answer.content)

    def predictor(self, address: str) -> None:
        self.answers |= {
            f"{address}/metrics": httpx.Response(200, text=exposed(predictor(5))),
            f"{address}/ready": httpx.Response(200, json={"status": "ready"}),
            f"{address}/routing": httpx.Response(
                200, content=routed(3, ("baseline", DIGEST, 10_000)).to_bytes()
            ),
            f"{address}/model/info": httpx.Response(200, text=orjson.dumps(model_info()).decode()),
        }

    def producer(self, address: str) -> None:
        self.answers |= {
            f"{address}/metrics": httpx.Response(200, text=exposed(producer(5))),
            f"{address}/ready": httpx.Response(200, json={"status": "ready"}),
        }

    def scraper(self, targets: str | None, **options: str | None) -> Scraper:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.handle))
        metrics = StatusMetrics(CollectorRegistry())
        settings = StatusSettings.load(targets=targets, **options)
        return Scraper(client, settings, self.resolve, metrics.scrapes, clock=lambda: 7.0)

    async def look(self, targets: str, **options: str | None) -> Snapshot:
        return await self.scraper(targets, **options).scrape()

    async def one_process(self) -> ProcessSnapshot:
        """Return what is found of the producer at 10.0.0.1:8001."""
        self.hosts["p"] = ["10.0.0.1"]
        [service] = (await self.look("producer=http://p:8001")).services
        [process] = service.processes
        return process


async def test_a_host_with_several_addresses_is_several_processes() -> None:
    platform = Platform(pods=["10.0.0.1", "10.0.0.2"])
    platform.predictor("10.0.0.1:9090")
    platform.predictor("10.0.0.2:9090")
    found = await platform.look("predictor=http://pods:9090")
    [service] = found.services
    assert [(p.address, p.ready) for p in service.processes] == [
        ("10.0.0.1:9090", True),
        ("10.0.0.2:9090", True),
    ]
    assert found.at == 7.0
    assert [p.routing.generation for p in service.processes if p.routing] == [3, 3]
    assert set(found.models) == {DIGEST}


async def test_archiver_of_the_default_targets_is_shown_once_it_has_answered() -> None:
    platform = Platform(localhost=["127.0.0.1"])
    default, configured = platform.scraper(None), platform.scraper("archiver=http://localhost:8003")
    assert [s.name for s in (await default.scrape()).services] == ["predictor", "producer", "materializer"]
    assert [s.name for s in (await configured.scrape()).services] == ["archiver"]
    platform.producer("127.0.0.1:8003")
    assert [s.name for s in (await default.scrape()).services][3:] == ["archiver"]
    del platform.answers["127.0.0.1:8003/metrics"]
    assert [s.name for s in (await default.scrape()).services][3:] == ["archiver"]


async def test_a_name_with_several_targets_is_one_service() -> None:
    platform = Platform(one=["127.0.0.1"])
    platform.producer("127.0.0.1:8001")
    platform.producer("127.0.0.1:8011")
    found = await platform.look(
        "producer=http://one:8001,producer=http://one:8011,producer=http://one:8001,producer=http://gone:1"
    )
    [service] = found.services
    assert [p.address for p in service.processes] == ["127.0.0.1:8001", "127.0.0.1:8011"]
    assert service.problems == ("nothing has the name gone",)


async def test_the_model_is_asked_for_until_it_is_told_and_then_never_again() -> None:
    platform = Platform(pods=["10.0.0.1"])
    platform.predictor("10.0.0.1:9090")
    address = "10.0.0.1:9090/model/info"
    told, platform.answers[address] = platform.answers[address], httpx.Response(200, json={"digest": 5})
    scraper = platform.scraper("predictor=http://pods:9090")
    assert (await scraper.scrape()).models == {}
    platform.answers[address] = told
    for _ in range(3):
        assert set((await scraper.scrape()).models) == {DIGEST}
    assert platform.asked.count(address) == 2


@pytest.mark.parametrize(
    ("answer", "series", "expected"),
    [
        (
            httpx.Response(503, json={"detail": "the log is away"}),
            {"reprise_ready": 1},
            (False, "the log is away"),
        ),
        (httpx.Response(404), {"reprise_ready": 1}, (True, None)),
        (httpx.Response(404), {"reprise_ready": 0}, (False, "it does not say why")),
        (httpx.Response(404), {"reprise_rollout_routing_generation": 1}, (True, None)),
    ],
    ids=["in its own words", "by the metric", "not by the metric", "only metrics"],
)
async def test_whether_a_process_is_ready(
    answer: Answer, series: dict[str, float], expected: tuple[bool, str | None]
) -> None:
    platform = Platform()
    metrics = httpx.Response(200, text=exposed(series))
    platform.answers = {"10.0.0.1:8001/metrics": metrics, "10.0.0.1:8001/ready": answer}
    process = await platform.one_process()
    assert (process.ready, process.reason) == expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx.ConnectError("refused"), "it refuses the connection"),
        (httpx.ReadTimeout("slow"), "it does not answer in time"),
        (httpx.RemoteProtocolError("gone"), "the connection broke (RemoteProtocolError)"),
        (AttributeError("getpeername"), "the connection broke (AttributeError)"),
        (httpx.Response(500, text="oh"), "it answers 500"),
        (httpx.Response(404), "it has no such address"),
        (httpx.Response(401, json={"detail": "Send an API key."}), "Send an API key."),
        (httpx.Response(200, text="<html>"), "its metrics are not Reprise's"),
        (httpx.Response(200, content=b"\xff\xfe reprise_ready"), "its metrics are not Reprise's"),
        (httpx.Response(200, content=b"reprise_ready 1\n" * 600_000), "its answer is too long"),
    ],
)
async def test_a_process_that_tells_nothing_is_there_with_the_reason(answer: Answer, reason: str) -> None:
    platform = Platform()
    platform.answers["10.0.0.1:8001/metrics"] = answer
    process = await platform.one_process()
    assert (process.samples, process.ready, process.problem) == (None, False, reason)


@pytest.mark.parametrize(
    ("text", "gateway", "failed", "problem"),
    [
        ('reprise_job_failed{job="reprise-trainer",namespace="shop"} 0\n', "http://push:9091", 0, None),
        ('reprise_job_failed{job="reprise-trainer",namespace="other"} 1\n', "http://push:9091", None, None),
        ("go_goroutines 9\n", "http://push:9091", None, "no job has pushed anything to the Pushgateway yet"),
        ("", "http://away:9091", None, "the Pushgateway: it refuses the connection"),
        ("", None, None, "no Pushgateway is configured"),
    ],
)
async def test_jobs_are_what_the_pushgateway_keeps(
    text: str, gateway: str | None, failed: float | None, problem: str | None
) -> None:
    platform = Platform()
    platform.answers["push:9091/metrics"] = httpx.Response(200, text=text)
    found = await platform.look(
        "producer=http://p:8001", pushgateway_url=gateway, pushgateway_grouping={"namespace": "shop"}
    )
    told = None if found.jobs is None else found.jobs.one("reprise_job_failed", job="reprise-trainer")
    assert (told, found.jobs_problem) == (failed, problem)


async def test_routing_that_cannot_be_read_leaves_the_rest() -> None:
    platform = Platform(pods=["10.0.0.1"])
    platform.predictor("10.0.0.1:9090")
    platform.answers["10.0.0.1:9090/routing"] = httpx.Response(200, content=orjson.dumps({"generation": "x"}))
    [service] = (await platform.look("predictor=http://pods:9090")).services
    assert service.processes[0].routing is None
    assert service.processes[0].ready


def alert(name: str, namespace: str = "shop", state: str = "firing") -> dict[str, object]:
    labels = {"alertname": name, "namespace": namespace, "severity": "critical"}
    annotations = {"summary": "Bad", "runbook_url": "docs/operations.md#predictions-fail"}
    return {"labels": labels, "annotations": annotations, "state": state, "value": "1e+00", "activeAt": "…"}


async def test_alerts_are_those_of_this_installation_that_fire() -> None:
    platform = Platform()
    alerts = [
        alert("RepriseFires"),
        alert("RepriseWaits", state="pending"),
        alert("RepriseElsewhere", "another"),
        alert("NodeDown"),
        alert("RepriseServiceMissing", ""),
    ]
    platform.answers["prom:9090/api/v1/alerts"] = httpx.Response(200, json={"data": {"alerts": alerts}})
    options = {"prometheus_url": "http://prom:9090/"}
    found = await platform.look("producer=http://p:8001", **options, prometheus_namespace="shop")
    assert [each.name for each in found.alerts or ()] == ["RepriseFires", "RepriseServiceMissing"]
    [first, *_] = found.alerts or ()
    assert (first.level, first.summary, first.section) == ("bad", "Bad", "predictions-fail")
    found = await platform.look("producer=http://p:8001", **options)
    assert len(found.alerts or ()) == 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx.ConnectError("refused"), "Prometheus: it refuses the connection"),
        (httpx.Response(200, json={"status": "error"}), "Prometheus: its answer is no list of alerts"),
    ],
)
async def test_prometheus_that_tells_no_alerts_is_told_with_the_reason(answer: Answer, reason: str) -> None:
    platform = Platform()
    platform.answers["prom:9090/api/v1/alerts"] = answer
    found = await platform.look("producer=http://p:8001", prometheus_url="http://prom:9090")
    assert (found.alerts, found.alerts_problem) == (None, reason)
    without = await platform.look("producer=http://p:8001")
    assert (without.alerts, without.alerts_problem) == (None, None)
