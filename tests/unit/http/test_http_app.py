import gzip
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.testclient import TestClient
from prometheus_client import Counter
from pydantic import BaseModel
from structlog.testing import capture_logs

from reprise.http.app import create_http_app
from reprise.http.metrics import process_registry
from reprise.http.problems import ProblemError, ProblemType
from support.logs import reset_logs

TEAPOT = ProblemType("teapot", 418, "This is a teapot")


class Cup(BaseModel, extra="forbid"):
    size: int


def build(reasons: list[str], max_body_bytes: int = 100) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        reasons.clear()
        yield
        reasons.append("closed")

    registry = process_registry("reprise-http")
    Counter("cups", "Cups served.", registry=registry).inc()
    app = create_http_app(
        title="Cups",
        description="Serves cups.",
        registry=registry,
        readiness=lambda: reasons,
        lifespan=lifespan,
        max_body_bytes=max_body_bytes,
    )

    @app.post("/cups")
    async def cups(cup: Cup, colour: Annotated[str, Query(max_length=5)] = "red") -> Cup:
        return cup

    @app.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    @app.get("/broken/{id}")
    async def broken() -> None:
        raise RuntimeError("the password is hunter2")

    @app.get("/teapot")
    async def teapot() -> None:
        raise ProblemError(TEAPOT, "No coffee here.")

    @app.get("/forbidden")
    async def forbidden() -> None:
        raise HTTPException(403, "Not for you.", headers={"X-Why": "rules"})

    return app


@pytest.fixture(scope="module")
def reasons() -> list[str]:
    return ["not open yet"]


@pytest.fixture(scope="module")
def client(reasons: list[str]) -> Iterator[TestClient]:
    reset_logs()
    with TestClient(build(reasons)) as client:
        yield client


@pytest.mark.parametrize(
    ("address", "body", "status", "kind"),
    [
        ("GET /nowhere", None, 404, "not-found"),
        ("GET /cups", None, 405, "method-not-allowed"),
        ("POST /cups", b'{"size": 1', 400, "invalid-json"),
        ("POST /cups", b'{"size": "x"}', 422, "invalid-request"),
        ("POST /cups", b'{"size": 1, "x": 2}', 422, "invalid-request"),
        ("POST /cups?colour=ultramarine", b'{"size": 1}', 422, "invalid-request"),
        ("POST /cups", b'{"size": 1}' + b" " * 100, 413, "body-too-large"),
        ("GET /teapot", None, 418, "teapot"),
        ("GET /forbidden", None, 403, "http-403"),
    ],
)
def test_every_error_is_a_problem_document(
    client: TestClient, address: str, body: bytes | None, status: int, kind: str
) -> None:
    headers = {"content-type": "application/json"} if body else {}
    method, path = address.split()
    response = client.request(method, path, content=body, headers=headers)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["type"] == f"urn:reprise:problem:{kind}"
    assert document["status"] == status
    assert document["detail"]


def test_invalid_field_is_named_without_where_fastapi_found_it(client: TestClient) -> None:
    document = client.post("/cups", json={"size": "big"}).json()
    assert [(error["field"], error["value"]) for error in document["errors"]] == [("size", "big")]


def test_unknown_exception_is_logged_under_an_id_and_told_by_that_id_only(client: TestClient) -> None:
    with capture_logs() as logs:
        response = client.get("/broken/secret-user")
    assert response.status_code == 500
    assert "hunter2" not in response.text
    (line,) = [line for line in logs if line["event"] == "unhandled_exception"]
    assert response.json()["instance"] == f"urn:uuid:{line['correlation_id']}"
    assert str(line["exc_info"]) == "the password is hunter2"
    assert line["path"] == "/broken/{id}"


ENCODED: dict[str, tuple[str, bytes, int, int | str]] = {
    "of the limit": ("gzip", gzip.compress(b"x" * 100), 200, 100),
    "in capitals": ("X-GZIP", gzip.compress(b"x" * 100), 200, 100),
    "not compressed": ("identity", b"x" * 100, 200, 100),
    "not compressed beyond the limit": ("identity", b"x" * 101, 413, "body-too-large"),
    "beyond the limit": ("gzip", gzip.compress(b"x" * 101), 413, "body-too-large"),
    "members beyond the limit": ("gzip", gzip.compress(b"x") * 2, 413, "body-too-large"),
    "no gzip": ("gzip", b"no gzip", 400, "bad-request"),
    "cut off": ("gzip", gzip.compress(b"x")[:-1], 400, "bad-request"),
    "brotli": ("br", b"x", 415, "unsupported-media-type"),
    "gzip of gzip": ("gzip, gzip", gzip.compress(gzip.compress(b"x")), 415, "unsupported-media-type"),
}


@pytest.mark.parametrize(("coding", "body", "status", "answer"), ENCODED.values(), ids=ENCODED)
def test_gzip_is_inflated_within_the_limit_and_other_encodings_are_refused(
    client: TestClient, coding: str, body: bytes, status: int, answer: int | str
) -> None:
    for content in (body, iter([body[:9], body[9:]])):
        response = client.post("/raw", content=content, headers={"content-encoding": coding})
        assert response.status_code == status
        if status == 200:
            assert response.json() == answer
        else:
            assert response.json()["type"] == f"urn:reprise:problem:{answer}"
    if status == 415:
        assert response.headers["accept-encoding"] == "gzip, identity"


async def test_gzip_bodies_of_several_members_are_read_whole() -> None:
    transport = httpx.ASGITransport(app=build([], max_body_bytes=4096))
    body = gzip.compress(b"abc") + gzip.compress(b"de")
    async with httpx.AsyncClient(transport=transport, base_url="http://cups") as client:
        response = await client.post("/raw", content=body, headers={"content-encoding": "gzip"})
    assert response.json() == 5


@pytest.mark.parametrize(
    "target", [b"/broken/%zz", b"/broken/%f", b"/broken/%ff", b"/broken/%ed%a0%80", b"/cups?colour=%ff"]
)
def test_invalid_percent_encoding_is_refused(client: TestClient, target: bytes) -> None:
    url = httpx.URL("http://testserver/").copy_with(raw_path=target)
    response = client.get(url)
    assert response.status_code == 400
    assert response.json()["type"] == "urn:reprise:problem:bad-request"


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_health_answers_head_like_get(client: TestClient, path: str) -> None:
    response = client.head(path)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == client.get(path).headers["content-length"]
    assert "head" in client.get("/openapi.json").json()["paths"][path]


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/broken/1"])
def test_every_answer_has_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_documentation_page_refers_to_no_other_host(client: TestClient) -> None:
    response = client.get("/docs")
    assert response.status_code == 200
    assert response.headers["x-frame-options"] == "DENY"
    policy = response.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "//" not in policy
    assert "https://" not in response.text
    assets = re.findall(r"""(?:src|href)=["']([^"']+)""", response.text)
    assert {Path(asset).suffix for asset in assets} == {".js", ".css", ".png"}
    for asset in assets:
        assert asset.startswith("docs/")
        assert client.get(asset).status_code == 200
    assert "<script>" not in response.text


def test_request_id_comes_back_if_it_is_well_formed(client: TestClient) -> None:
    assert client.get("/health", headers={"x-request-id": "a-1"}).headers["x-request-id"] == "a-1"
    assert "x-request-id" not in client.get("/health", headers={"x-request-id": "a b<"}).headers


def test_ready_says_why_not(client: TestClient, reasons: list[str]) -> None:
    assert client.get("/ready").json() == {"status": "ready"}
    reasons += ["no model is loaded", "Redis does not answer"]
    response = client.get("/ready")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json()["detail"] == "no model is loaded; Redis does not answer"
    assert client.get("/health").status_code == 200
    reasons.clear()


def test_metrics_have_the_build_and_the_services_own(client: TestClient) -> None:
    text = client.get("/metrics").text
    assert 'reprise_build_info{package="reprise-http"' in text
    assert "cups_total 1.0" in text
    assert "process_resident_memory_bytes" in text


def test_lifespan_surrounds_the_requests() -> None:
    reasons = ["not open yet"]
    with TestClient(build(reasons)) as client:
        assert client.get("/ready").status_code == 200
    assert reasons == ["closed"]
