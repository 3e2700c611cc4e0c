from collections.abc import Iterator

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


def test_problem_is_answered_with_its_headers(client: TestClient) -> None:
    response = client.post("/echo", content=b"refuse")
    assert (response.status_code, response.headers["retry-after"]) == (400, "3")
    assert response.json()["detail"] == "Refused."


def test_unknown_exception_reaches_the_base_middleware(client: TestClient) -> None:
    response = client.post("/echo", content=b"break")
    assert response.status_code == 500
    assert response.json()["instance"].startswith("urn:uuid:")


def test_too_large_a_body_is_refused_declared_or_not(client: TestClient) -> None:
    assert client.post("/echo", content=b"x" * 51).status_code == 413
    assert client.post("/echo", content=iter([b"x" * 26, b"x" * 26])).status_code == 413


def test_form_is_told_to_come_as_json(client: TestClient) -> None:
    response = client.post("/echo", data={"a": "b"})
    assert response.status_code == 415
    assert "send Content-Type: application/json" in response.json()["detail"]


def test_json_with_a_character_set_is_json(client: TestClient) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert client.post("/echo", content=b"x", headers=headers).status_code == 200


def test_other_method_is_told_which_is_taken(client: TestClient) -> None:
    response = client.get("/echo")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_fast_route_is_documented() -> None:
    with TestClient(build()) as client:
        assert client.get("/openapi.json").json()["paths"]["/echo"]["post"]["summary"] == "Echo"
