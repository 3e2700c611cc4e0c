import gzip
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import orjson
import pytest
from fastapi.testclient import TestClient
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from reprise.events import decode_event
from reprise.http.tracing.factory import Tracing
from reprise.log import EVENTS, LogUnavailableError
from reprise.producer.app import create_app
from reprise.producer.metrics import ProducerMetrics
from reprise.producer.settings import ProducerSettings
from reprise.runtime.exceptions import InvalidSettingsError
from support.fake_log import FakeLogProducer
from support.redis import free_port
from support.traces import SAMPLED, TRACE_ID, KeptSpans, attributes

EVENT = {
    "event_id": "e",
    "user_id": "u",
    "product_id": "p",
    "event_type": "view",
    "timestamp": "2026-01-01T00:00:00Z",
}


def client_of(
    settings: ProducerSettings,
    log: FakeLogProducer,
    metrics: ProducerMetrics,
    prefix: str = "",
    tracing: Tracing | None = None,
) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=create_app(settings, log, metrics, tracing))
    return httpx.AsyncClient(transport=transport, base_url=f"http://producer{prefix}/")


@pytest.fixture
async def client(log: FakeLogProducer, metrics: ProducerMetrics) -> AsyncIterator[httpx.AsyncClient]:
    settings = ProducerSettings(max_events=5, max_body_bytes=20_000, ack_timeout_seconds=0.1)
    async with client_of(settings, log, metrics) as client:
        yield client


async def test_documentation_can_be_turned_off(log: FakeLogProducer, metrics: ProducerMetrics) -> None:
    async with client_of(ProducerSettings(api_docs=False), log, metrics) as client:
        assert [(await client.get(path)).status_code for path in ("/docs", "/openapi.json")] == [404, 404]


@pytest.mark.parametrize(
    ("settings", "is_open"),
    [
        ({"api_host": "0.0.0.0"}, True),
        ({"api_host": "::"}, True),
        ({"api_host": ""}, True),
        ({"api_host": "producer.example"}, True),
        ({"api_host": "127.0.0.2"}, False),
        ({"api_host": "::1"}, False),
        ({"api_host": "localhost"}, False),
        ({"api_key_hashes": SecretStr("a" * 64)}, False),
        ({"api_keys_file": "/keys"}, False),
    ],
)
def test_whoever_reaches_it_may_send_events_without_keys_beyond_loopback(
    settings: dict[str, Any], is_open: bool
) -> None:
    assert ProducerSettings(**settings).is_open is is_open


@pytest.mark.parametrize("prefix", ["", "/shop/reprise"])
async def test_below_a_root_path_the_api_is_the_same_with_and_without_it(
    log: FakeLogProducer, metrics: ProducerMetrics, prefix: str
) -> None:
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("all", "narrow")}
    keys = SecretStr(f"all:{digests['all']},narrow:{digests['narrow']}:predict")
    settings = ProducerSettings(api_root_path="/shop/reprise", api_key_hashes=keys)
    async with client_of(settings, log, metrics, prefix) as client:
        assert (await client.get("health")).status_code == 200
        document = (await client.get("openapi.json")).json()
        assert document["servers"] == [{"url": "/shop/reprise"}]
        assert "/events" in document["paths"]
        assert (await client.get("docs/assets/swagger-ui.css")).status_code == 200
        for key, status in ("all", 202), ("narrow", 403), ("none", 401):
            response = await client.post("events", json=EVENT, headers={"X-API-Key": key})
            assert response.status_code == status
        assert (await client.get("shop/reprise-2/health")).status_code == 401


def test_a_root_path_begins_with_a_slash_and_ends_without_one() -> None:
    for path in ("reprise", "/", "/reprise/", "/a b"):
        with pytest.raises(InvalidSettingsError, match="API_ROOT_PATH"):
            ProducerSettings.load(api_root_path=path)


def problem(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == response.status_code
    return document


async def test_one_event_is_accepted(client: httpx.AsyncClient) -> None:
    response = await client.post("/events", json=EVENT)
    assert response.status_code == 202
    assert response.json() == {
        "accepted": 1,
        "failed": 0,
        "results": [{"index": 0, "event_id": "e", "status": "accepted", "partition": 3, "offset": 0}],
    }


async def test_partly_valid_list_is_answered_event_by_event(client: httpx.AsyncClient) -> None:
    response = await client.post("/events", json=[{**EVENT, "user_id": ""}, EVENT])
    assert response.status_code == 207
    body = response.json()
    assert (body["accepted"], body["failed"]) == (1, 1)
    assert body["results"][0]["status"] == "rejected"
    assert body["results"][0]["field"] == "user_id"
    assert "retry-after" not in response.headers


async def test_list_without_a_valid_event_is_a_problem_with_every_field(client: httpx.AsyncClient) -> None:
    response = await client.post("/events", json=[{**EVENT, "timestamp": "now"}, {**EVENT, "amount": 3}])
    assert response.status_code == 422
    document = problem(response)
    assert document["detail"] == "All 2 events break the contract."
    assert [error["field"] for error in document["errors"]] == ["0.timestamp", "1.amount"]


@pytest.mark.parametrize(
    ("bodies", "media_type", "kind"),
    [
        ((b"{", b"\xff", b""), "application/json", "invalid-json"),
        ((b"[]", b"3", b"null", b"[[]]"), "application/json", "invalid-request"),
        ((orjson.dumps([EVENT] * 6),), "application/json", "too-many-events"),
        ((orjson.dumps({**EVENT, "metadata": {"a": "x" * 30_000}}),), "application/json", "body-too-large"),
        ((b"a,b",), "text/csv", "unsupported-media-type"),
    ],
    ids=["no JSON", "no event", "too many events", "too large", "CSV"],
)
async def test_body_that_is_not_taken_is_a_problem(
    client: httpx.AsyncClient, log: FakeLogProducer, bodies: tuple[bytes, ...], media_type: str, kind: str
) -> None:
    for body in bodies:
        response = await client.post("/events", content=body, headers={"content-type": media_type})
        assert problem(response)["type"] == f"urn:reprise:problem:{kind}"
    assert log.appended == []


@pytest.mark.parametrize(
    "timestamp",
    [
        *("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"),
        *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1970-01-21T12:00:00Z"),
        *("1990-01-01T00:00:00Z", "2099-12-31T23:59:59.999999Z"),
    ],
)
async def test_timestamp_outside_the_window_breaks_the_contract(
    client: httpx.AsyncClient, timestamp: str
) -> None:
    response = await client.post("/events", json={**EVENT, "timestamp": timestamp})
    assert problem(response)["status"] == 422
    assert problem(response)["errors"][0]["field"] == "0.timestamp"


@pytest.mark.parametrize(
    ("headers", "encode"),
    [
        ({"content-type": "application/json; charset=utf-8"}, bytes),
        ({"content-encoding": "gzip"}, gzip.compress),
    ],
    ids=["with a charset", "gzip"],
)
async def test_body_may_have_a_charset_or_be_gzip(
    client: httpx.AsyncClient, log: FakeLogProducer, headers: dict[str, str], encode: Callable[[bytes], bytes]
) -> None:
    headers = {"content-type": "application/json", **headers}
    response = await client.post("/events", content=encode(orjson.dumps(EVENT)), headers=headers)
    assert response.status_code == 202
    ((topic, key, value),) = log.appended
    assert (topic, key, decode_event(value).event_id) == (EVENTS.name, b"u", EVENT["event_id"])


def away(_: int) -> LogUnavailableError:
    return LogUnavailableError("no such host")


@pytest.mark.parametrize(
    ("state", "status", "kind", "detail"),
    [
        ({"capacity": 0}, 429, "overloaded", "records wait already"),
        ({"failure": away}, 503, "log-unavailable", "no such host"),
        ({"hold": True}, 503, "log-unavailable", "within 0.1 s"),
    ],
    ids=["full", "away", "silent"],
)
async def test_log_that_takes_nothing_is_told_with_retry_after(
    client: httpx.AsyncClient,
    log: FakeLogProducer,
    state: dict[str, Any],
    status: int,
    kind: str,
    detail: str,
) -> None:
    vars(log).update(state)
    response = await client.post("/events", json=EVENT)
    assert response.headers["retry-after"] == "1"
    document = problem(response)
    assert document["status"] == status
    assert document["type"].endswith(kind)
    assert detail in document["detail"]


async def test_partly_taken_list_says_when_to_send_the_rest(
    client: httpx.AsyncClient, log: FakeLogProducer
) -> None:
    log.failure = lambda number: LogUnavailableError("away") if number else None
    response = await client.post("/events", json=[EVENT, EVENT])
    assert response.status_code == 207
    assert response.headers["retry-after"] == "1"
    assert [entry["status"] for entry in response.json()["results"]] == ["accepted", "unavailable"]


async def test_process_lives_but_is_not_ready_while_the_log_has_a_problem(
    client: httpx.AsyncClient, log: FakeLogProducer
) -> None:
    assert (await client.get("/ready")).status_code == 200
    log.problem_now = "the disk is full"
    response = await client.get("/ready")
    assert response.status_code == 503
    assert "event log: the disk is full" in problem(response)["detail"]
    assert (await client.get("/health")).status_code == 200


async def test_metrics_are_served(client: httpx.AsyncClient) -> None:
    assert "reprise_producer_buffered_records 0.0" in (await client.get("/metrics")).text


async def test_documentation_has_the_body_and_every_answer(client: httpx.AsyncClient) -> None:
    operation = (await client.get("/openapi.json")).json()["paths"]["/events"]["post"]
    assert set(operation["responses"]) >= {"202", "207", "400", "413", "415", "422", "429", "503", "500"}
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    for example in examples.values():
        assert (await client.post("/events", json=example["value"])).status_code == 202


def test_keys_guard_events_and_each_event_counts_toward_the_rate(
    log: FakeLogProducer, metrics: ProducerMetrics
) -> None:
    port = free_port()
    settings = ProducerSettings(
        api_host="127.0.0.1",
        api_key_hashes=SecretStr(f"shop:{hashlib.sha256(b'k').hexdigest()}"),
        rate_limit=0.01,
        rate_burst=5,
        metrics_port=port,
    )
    with TestClient(create_app(settings, log, metrics), headers={"X-API-Key": "k"}) as client:
        assert client.post("/events", json=EVENT, headers={"X-API-Key": "guess"}).status_code == 401
        assert client.get("/metrics").status_code == 404
        forged = [{**EVENT, "posted_by": "key:somebody"}] * 4
        assert client.post("/events", json=forged).status_code == 202
        assert client.post("/events", json=EVENT).status_code == 429
        assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 200
    assert [decode_event(value).posted_by for _, _, value in log.appended] == ["key:shop"] * 4


async def test_events_without_a_key_are_marked_as_anonymous(
    client: httpx.AsyncClient, log: FakeLogProducer
) -> None:
    await client.post("/events", json=[EVENT, {**EVENT, "posted_by": "key:shop"}])
    assert [decode_event(value).posted_by for _, _, value in log.appended] == ["anonymous"] * 2


async def post_traced(log: FakeLogProducer, spans: KeptSpans) -> int:
    metrics = ProducerMetrics(CollectorRegistry(), log.buffered, spans.tracing)
    secret = {name: f"{value}-secret" if name.endswith("_id") else value for name, value in EVENT.items()}
    async with client_of(ProducerSettings(), log, metrics, tracing=spans.tracing) as client:
        answer = await client.post("/events", json=[secret, secret], headers={"traceparent": SAMPLED})
    return answer.status_code


async def test_events_are_a_span_with_their_append(log: FakeLogProducer) -> None:
    spans = KeptSpans()
    assert await post_traced(log, spans) == 202
    whole = spans.request()
    assert (whole.name, attributes(whole)["http.response.status_code"]) == ("POST /events", 202)
    [append] = spans.stages()
    assert (append.name, append.kind) == ("append", SpanKind.PRODUCER)
    assert attributes(append) == {
        "messaging.operation.type": "send",
        "messaging.destination.name": "ecommerce-events",
    }
    assert append.context is not None
    assert f"{append.context.trace_id:032x}" == TRACE_ID
    assert not [span for span in spans.all() if "secret" in span.to_json()]


async def test_a_log_that_refuses_is_an_event_of_the_span(log: FakeLogProducer) -> None:
    spans = KeptSpans()
    log.failure = lambda _: LogUnavailableError("kafka:9092")
    assert await post_traced(log, spans) == 503
    whole = spans.request()
    assert whole.status.status_code is StatusCode.ERROR
    assert [dict(event.attributes or {}) for event in whole.events] == [
        {"reprise.dependency": "event_log", "error.type": "LogUnavailableError", "reprise.times": 2}
    ]
