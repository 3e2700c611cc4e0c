import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from starlette.types import Scope

from reprise.http.app import create_http_app
from reprise.http.exceptions import ServerStartError
from reprise.http.health import health_router
from reprise.http.middleware.access_log import AccessLog, note_ids
from reprise.http.middleware.api_keys import ApiKeys
from reprise.http.middleware.authentication import Authentication
from reprise.http.middleware.fast_path import add_fast_route
from reprise.http.middleware.rate_limit import RateLimit
from reprise.http.server import metrics_server
from reprise.http.tracing.trace_context import parse_traceparent, trace_of_request_id
from support.redis import free_port

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
KEY = {"X-API-Key": "k"}
ENTRY = f"shop:{hashlib.sha256(b'k').hexdigest()}"


async def double(scope: Scope, body: bytes) -> bytes:
    note_ids(scope, user_id="u-secret")
    return body + body


def build(registry: CollectorRegistry | None = None, **parts: Any) -> FastAPI:
    app = create_http_app(
        title="t",
        version="1",
        description="d",
        registry=registry or CollectorRegistry(),
        readiness=list,
        max_body_bytes=50,
        **parts,
    )
    add_fast_route(app, "POST", "/double", double, summary="Double")

    @app.get("/of/{user_id}")
    async def of(user_id: str) -> str:
        if user_id == "broken":
            raise RuntimeError("broken")
        return user_id

    return app


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def guarded(registry: CollectorRegistry) -> Iterator[TestClient]:
    limit = RateLimit(rate=0.5, burst=3)
    with TestClient(build(registry, authentication=Authentication(ApiKeys([ENTRY]), limit))) as client:
        yield client


@pytest.mark.parametrize("path", ["/double", "/of/u", "/nowhere", "/metrics", "/health/", "//health"])
def test_without_a_key_nothing_is_told(guarded: TestClient, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        response = guarded.request(method, path)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["type"] == "urn:reprise:problem:unauthenticated"
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/health", "/ready", "/docs", "/docs/assets/swagger-ui.css", "/openapi.json"]
)
def test_health_and_documentation_are_open(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 200


def test_key_opens_until_its_rate_is_used_up(guarded: TestClient, registry: CollectorRegistry) -> None:
    for _ in range(3):
        assert guarded.post("/double", content=b"1", headers=KEY).json() == 11
    response = guarded.post("/double", content=b"1", headers=KEY)
    assert response.status_code == 429
    assert response.json()["type"] == "urn:reprise:problem:too-many-requests"
    assert response.headers["retry-after"] == "2"
    guarded.get("/of/u")
    for reason in ("unauthenticated", "too-many-requests"):
        assert registry.get_sample_value("reprise_http_turned_away_total", {"reason": reason}) == 1


def test_documentation_tells_of_the_key_where_one_is_needed(guarded: TestClient) -> None:
    document = guarded.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    double = document["paths"]["/double"]["post"]
    assert double["security"] == [{"bearer": []}, {"header": []}]
    assert {"401", "429"} <= set(double["responses"])
    assert "401" not in document["paths"]["/health"]["get"]["responses"]
    open_document = build().openapi()
    assert "securitySchemes" not in open_document["components"]
    assert "401" not in open_document["paths"]["/double"]["post"]["responses"]


def test_trace_context_comes_back_and_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    with TestClient(build(access_log=AccessLog(ids=False, json=True))) as client:
        response = client.post(
            "/double", content=b"1", headers={"traceparent": TRACEPARENT, "x-request-id": "r-1"}
        )
        assert response.headers["traceparent"] == TRACEPARENT
        assert "traceparent" not in client.post("/double", headers={"traceparent": "00-zz"}).headers
    first, second = lines(capsys)
    assert first["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert first["parent_id"] == "b7ad6b7169203331"
    assert first["request_id"] == "r-1"
    assert "trace_id" not in second


def test_request_id_that_is_a_uuid_is_the_trace_where_no_other_is_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {"x-request-id": "3F2A9C1E-7B0D-9E44-8C11-5D6E7F809A1B"}
    with TestClient(build(access_log=AccessLog(ids=False, json=True))) as client:
        response = client.post("/double", content=b"1", headers=given)
        assert response.headers["x-request-id"] == given["x-request-id"]
        assert "traceparent" not in response.headers
        client.post("/double", content=b"1", headers=given | {"traceparent": TRACEPARENT})
        client.post("/double", content=b"1", headers={"x-request-id": "order-7"})
    alone, beside, no_uuid = lines(capsys)
    assert alone["trace_id"] == "3f2a9c1e7b0d9e448c115d6e7f809a1b"
    assert "parent_id" not in alone
    assert beside["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert "trace_id" not in no_uuid


@pytest.mark.parametrize("value", [b"", b"0" * 32, b"3f2a9c1e7b0d9e448c115d6e7f809a1", b"g" * 32])
def test_request_id_that_is_no_uuid_is_no_trace(value: bytes) -> None:
    assert trace_of_request_id(value) is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01",
        b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n",
    ],
)
def test_traceparent_that_is_none_is_ignored(value: bytes) -> None:
    assert parse_traceparent(value) is None


def test_traceparent_of_a_later_version_may_have_more_parts() -> None:
    assert parse_traceparent(TRACEPARENT.encode().replace(b"00-", b"01-", 1) + b"-more") is not None


def test_each_request_is_one_line_without_ids(capsys: pytest.CaptureFixture[str]) -> None:
    authentication = Authentication(ApiKeys([ENTRY]))
    with TestClient(
        build(access_log=AccessLog(ids=False, json=True), authentication=authentication),
        raise_server_exceptions=False,
    ) as client:
        client.post("/double?u-secret", content=b"1", headers=KEY)
        client.get("/of/u-secret", headers=KEY)
        client.get("/of/broken", headers=KEY)
        client.get("/u-secret", headers=KEY)
        client.post("/double", content=b"x" * 51, headers=KEY)
        client.get("/of/u-secret")
        client.get("/health")
        client.get("/metrics", headers=KEY)
    found = lines(capsys)
    assert [(line["method"], line["path"], line["status"], line.get("key")) for line in found] == [
        ("POST", "/double", 200, "shop"),
        ("GET", "/of/{user_id}", 200, "shop"),
        ("GET", "/of/{user_id}", 500, "shop"),
        ("GET", None, 404, "shop"),
        ("POST", None, 413, None),
        ("GET", None, 401, None),
    ]
    assert all(line["milliseconds"] >= 0 and line["event"] == "request" for line in found)
    assert "u-secret" not in str(found)


def test_ids_are_logged_where_they_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with TestClient(build(access_log=AccessLog(ids=True, json=True))) as client:
        client.post("/double?a=1", content=b"1")
        client.get("/of/u-7")
    first, second = lines(capsys)
    assert (first["target"], first["user_id"]) == ("/double?a=1", "u-secret")
    assert second["target"] == "/of/u-7"


def test_line_break_in_a_request_makes_no_second_line(capsys: pytest.CaptureFixture[str]) -> None:
    with TestClient(build(access_log=AccessLog(ids=True, json=True))) as client:
        client.get("/of/a%0A%7B%22event%22%3A1%7D")
    (line,) = lines(capsys)
    assert line["target"] == '/of/a\n{"event":1}'


async def test_metrics_are_on_a_port_of_their_own(registry: CollectorRegistry) -> None:
    app = build(registry, serve_metrics=False)
    async with metrics_server(registry, "127.0.0.1", 0) as port, httpx.AsyncClient() as client:
        base = f"http://127.0.0.1:{port}"
        assert (await client.get(f"{base}/metrics")).status_code == 200
        assert (await client.get(f"{base}/docs")).status_code == 404
    assert TestClient(app).get("/metrics").status_code == 404


async def test_operators_get_problem_documents_as_well(registry: CollectorRegistry) -> None:
    unready = health_router(lambda: ["no model is loaded"])
    async with metrics_server(registry, "127.0.0.1", 0, unready) as port, httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}/ready")
    assert (answer.status_code, answer.json()["detail"]) == (503, "no model is loaded")


async def test_metrics_port_that_is_taken_is_named(registry: CollectorRegistry) -> None:
    port = free_port()
    async with metrics_server(registry, "127.0.0.1", port):
        with pytest.raises(ServerStartError, match=str(port)):
            async with metrics_server(registry, "127.0.0.1", port):
                pass


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    found = (
        line
        for line in capsys.readouterr().err.splitlines()
        if '"reprise.http.middleware.access_log"' in line
    )
    return [json.loads(line) for line in found]
