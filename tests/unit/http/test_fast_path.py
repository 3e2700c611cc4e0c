from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from starlette.types import Scope

from reprise.http.app import create_http_app
from reprise.http.middleware.fast_path import add_fast_route
from reprise.http.problems import BAD_REQUEST, ProblemError


async def echo(scope: Scope, body: bytes) -> bytes:
    if body == b"refuse":
        raise ProblemError(BAD_REQUEST, "Refused.", headers={"Retry-After": "3"})
    if body == b"break":
        raise RuntimeError("broken")
    return b'{"query":"%s","body":"%s"}' % (scope["query_string"], body)


def build() -> FastAPI:
    app = create_http_app(
        title="t",
        description="d",
        registry=CollectorRegistry(),
        readiness=list,
        max_body_bytes=50,
    )
    add_fast_route(app, "POST", "/echo", echo, summary="Echo")
    return app


@pytest.fixture(params=["fast", "mounted"], scope="module")
def client(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    if request.param == "fast":
        with TestClient(build()) as client:
            yield client
        return
    outer = FastAPI()
    outer.mount("/below", build())
    with TestClient(outer, base_url="http://testserver/below") as client:
        yield client


def test_handler_gets_query_and_body(client: TestClient) -> None:
    response = client.post("/echo?a=1", content=b"hello")
    assert response.json() == {"query": "a=1", "body": "hello"}
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_body_in_pieces_arrives_whole(client: TestClient) -> None:
    assert client.post("/echo", content=iter([b"a" * 9, b"b" * 9])).json()["body"] == "a" * 9 + "b" * 9


@pytest.mark.parametrize(
    ("request_", "status", "headers", "told"),
    [
        ({"content": b"refuse"}, 400, {"retry-after": "3"}, "Refused."),
        ({"content": b"break"}, 500, {}, "urn:uuid:"),
        ({"content": b"x" * 51}, 413, {}, "at most 50 bytes"),
        ({"content": [b"x" * 26, b"x" * 26]}, 413, {}, "at most 50 bytes"),
        ({"data": {"a": "b"}}, 415, {}, "send Content-Type: application/json"),
        ({"content": b"x", "headers": {"content-type": "Application/JSON; charset=utf-8"}}, 200, {}, "x"),
        ({"method": "GET"}, 405, {"allow": "POST"}, "does not take GET"),
    ],
    ids=["problem", "exception", "too large", "too large in pieces", "form", "character set", "method"],
)
def test_answer_is_that_of_the_handler_or_a_problem_document(
    client: TestClient, request_: dict[str, Any], status: int, headers: dict[str, str], told: str
) -> None:
    given = {"method": "POST", **request_}
    if isinstance(given.get("content"), list):
        given["content"] = iter(given["content"])
    response = client.request(url="/echo", **given)
    assert response.status_code == status
    assert told in response.text
    assert headers.items() <= dict(response.headers).items()
