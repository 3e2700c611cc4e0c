"""API keys, their rate limits, and what a request leaves in the log and in its response."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from starlette.types import Scope
from structlog.testing import capture_logs

from reprise.http.app import create_http_app
from reprise.http.exceptions import InvalidKeysError, ServerStartError
from reprise.http.middleware.access_log import AccessLog, note_ids
from reprise.http.middleware.authentication import ApiKeys, Authentication, Caller, RateLimit
from reprise.http.middleware.fast_path import add_fast_route
from reprise.http.operations import health_router
from reprise.http.server import metrics_server
from reprise.http.tracing.trace_context import parse_traceparent, trace_of_request_id
from reprise.runtime.settings import ApiSettings

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
KEY = {"X-API-Key": "k"}
LOOPBACK = ApiSettings(api_host="127.0.0.1")


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def bearer(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"authorization", b"Bearer " + key.encode())]


def header(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-api-key", key.encode())]


def name(caller: Caller | None) -> str | None:
    return None if caller is None else caller.name


async def double(scope: Scope, body: bytes) -> bytes:
    note_ids(scope, user_id="u-secret")
    return body + body


def build(registry: CollectorRegistry | None = None, **parts: Any) -> FastAPI:
    registry = registry or CollectorRegistry()
    app = create_http_app(
        title="t", description="d", registry=registry, readiness=list, max_body_bytes=50, **parts
    )
    add_fast_route(app, "POST", "/double", double, summary="Double")

    @app.get("/features/{user_id}")
    async def features(user_id: str) -> str:
        return user_id

    @app.get("/of/{user_id}")
    async def of(user_id: str) -> str:
        if user_id == "broken":
            raise RuntimeError("broken")
        return user_id

    return app


def logging(*, ids: bool = False, **parts: Any) -> TestClient:
    return TestClient(build(access_log=AccessLog(ids=ids, json=True), **parts), raise_server_exceptions=False)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    found = capsys.readouterr().err.splitlines()
    return [json.loads(line) for line in found if '"reprise.http.middleware.access_log"' in line]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def guarded(registry: CollectorRegistry) -> Iterator[TestClient]:
    authentication = Authentication(ApiKeys([f"shop:{digest('k')}"]), RateLimit(0.5, 3, clock=lambda: 0.0))
    with TestClient(build(registry, authentication=authentication)) as client:
        yield client


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        (bearer("one"), "shop"),
        (header("two"), digest("two")[:8]),
        (header("three"), "shop"),
        ([(b"authorization", b"bEARER  one ")], "shop"),
        ([*bearer("wrong"), *header("one")], "shop"),
        *((each, None) for each in ([], bearer("other"), header(""), header(digest("one")))),
        *(([(b"authorization", value)], None) for value in (b"Basic b25l", b"one", b"Bearer")),
        ([(b"x-api-key", b"\xff\xfe")], None),
    ],
)
def test_caller_is_known_by_the_name_of_any_good_key_and_by_nothing_else(
    headers: list[tuple[bytes, bytes]], named: str | None
) -> None:
    keys = ApiKeys([f"shop:{digest('one')}", digest("two").upper(), f"shop:{digest('three')}"])
    assert name(keys.caller(headers)) == named


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        *((f"{'0' * 64}{end}", "is neither") for end in ("x", ":predict:")),
        *((entry, "is neither") for entry in ("secret-key-itself", "shop:", f"a b:{'0' * 64}", "0" * 63)),
        (f"{'0' * 64}:predict+feature", "has the scope 'feature'; expected events, features, predict"),
    ],
)
def test_malformed_entry_is_refused_without_showing_it(entry: str, told: str) -> None:
    with pytest.raises(InvalidKeysError, match=f"entry 2 {told}") as caught:
        ApiKeys([digest("one"), entry])
    assert entry not in str(caught.value)


@pytest.mark.parametrize(
    ("scopes", "status"),
    [("", 200), (":features", 200), (" predict+features", 200), (":predict", 403), (":predict+events", 403)],
)
def test_key_is_good_for_its_scopes_and_who_asked_for_what_is_logged(
    scopes: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    authentication = Authentication(ApiKeys([f"shop:{digest('k')}{scopes}"]))
    with logging(authentication=authentication) as client:
        response = client.get("/features/u-secret", headers=KEY)
        assert client.get("/of/u", headers=KEY).status_code == 200
    assert response.status_code == status
    if status == 403:
        assert response.json()["detail"] == "This key lacks the scope features."
    line = lines(capsys)[0]
    assert (line["key"], line["method"], line["status"]) == ("shop", "GET", status)
    lacked = {"lacked_scope": "features", "path": None} if status == 403 else {"path": "/features/{user_id}"}
    assert lacked.items() <= line.items()
    assert "u-secret" not in str(line)


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("/predict", "predict"),
        ("/predict/batch", "predict"),
        ("/rank", "predict"),
        ("/users/u/buy-again", "predict"),
        ("/features/u", "features"),
        ("/events", "events"),
    ],
)
def test_each_path_needs_its_scope(path: str, needed: str) -> None:
    for scope in ("predict", "features", "events"):
        keys = Authentication(ApiKeys([f"shop:{digest('k')}:{scope}"]))
        with TestClient(build(authentication=keys)) as client:
            refused = client.post(path, headers=KEY).status_code == 403
        assert refused == (scope != needed)


def test_no_entry_at_all_lets_nobody_in_rather_than_everybody(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# none yet\n\n")
    with pytest.raises(InvalidKeysError, match="holds no key"):
        ApiKeys([], file)
    with pytest.raises(InvalidKeysError, match="cannot be read"):
        ApiKeys([], tmp_path / "missing")


def test_rotation_through_the_file_needs_no_restart_and_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"shop {digest('old')}  # until June\n")
    keys = ApiKeys([f"ops:{digest('ops')}"], file)

    def callers() -> list[str | None]:
        keys.refresh()
        return [name(keys.caller(header(key))) for key in ("old", "new", "ops")]

    file.write_text(f"shop {digest('old')}\nshop {digest('new')}\n")
    assert callers() == ["shop", "shop", "ops"]
    file.write_text(f"shop {digest('new')}\n")
    assert callers() == [None, "shop", "ops"]
    file.write_text("not a digest")
    with capture_logs() as logs:
        assert callers() == [None, "shop", "ops"]
    assert [line["event"] for line in logs] == ["api_keys_refused"]
    assert "not a digest" not in str(logs)
    file.write_text("# all revoked\n")
    assert callers() == [None, None, "ops"]


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_bucket_admits_its_burst_then_its_rate() -> None:
    clock = Clock()
    limit = RateLimit(rate=10, burst=3, clock=clock)
    assert [limit.admit("a") for _ in range(4)] == [0, 0, 0, pytest.approx(0.1)]
    assert limit.admit("b") == 0
    clock.now += 0.1
    assert limit.admit("a") == 0
    clock.now += 100
    assert [limit.admit("a") == 0 for _ in range(4)] == [True, True, True, False]


def test_bucket_that_was_overdrawn_is_to_be_paid_back_first() -> None:
    clock = Clock()
    limit = RateLimit(rate=10, burst=3, clock=clock)
    assert limit.admit("a") == 0
    limit.charge("a", 99)
    assert limit.admit("a") == pytest.approx(9.8)
    clock.now += 9.7
    assert limit.admit("a") > 0
    clock.now += 0.2
    assert limit.admit("a") == 0


@pytest.mark.parametrize("path", ["/double", "/of/u", "/nowhere", "/metrics", "/health/", "//health"])
def test_every_path_without_a_key_has_the_same_answer(guarded: TestClient, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        response = guarded.request(method, path)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["type"] == "urn:reprise:problem:unauthenticated"
        assert response.headers["x-content-type-options"] == "nosniff"


def test_peer_without_a_key_is_throttled_and_no_other(registry: CollectorRegistry) -> None:
    authentication = Authentication(ApiKeys([digest("k")]))
    app = build(registry, authentication=authentication)
    guessing, other = (TestClient(app, client=(peer, 1)) for peer in ("10.0.0.1", "10.0.0.2"))
    statuses = [guessing.get("/of/u", headers={"X-API-Key": "guess"}).status_code for _ in range(60)]
    assert statuses[:20] == [401] * 20
    assert 429 in statuses
    assert other.get("/of/u").status_code == 401
    assert guessing.get("/of/u", headers=KEY).status_code == 200


def test_health_and_documentation_are_open(guarded: TestClient) -> None:
    for path in ("/health", "/ready", "/docs", "/docs/assets/swagger-ui.css", "/openapi.json"):
        assert guarded.get(path).status_code == 200, path


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


def test_trace_comes_back_and_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    uuid = {"x-request-id": "3F2A9C1E-7B0D-9E44-8C11-5D6E7F809A1B"}
    with logging() as client:
        response = client.post("/double", headers={"traceparent": TRACEPARENT, "x-request-id": "r-1"})
        assert response.headers["traceparent"] == TRACEPARENT
        response = client.post("/double", headers={"traceparent": "00-zz"} | uuid)
        assert response.headers["x-request-id"] == uuid["x-request-id"]
        assert "traceparent" not in response.headers
        client.post("/double", headers=uuid | {"traceparent": TRACEPARENT})
        client.post("/double", headers={"x-request-id": "order-7"})
    given, from_request_id, both, neither = lines(capsys)
    assert (given["trace_id"], given["parent_id"], given["request_id"]) == (TRACE_ID, PARENT_ID, "r-1")
    assert from_request_id["trace_id"] == "3f2a9c1e7b0d9e448c115d6e7f809a1b"
    assert "parent_id" not in from_request_id
    assert both["trace_id"] == TRACE_ID
    assert "trace_id" not in neither


@pytest.mark.parametrize("value", [b"", b"0" * 32, b"3f2a9c1e7b0d9e448c115d6e7f809a1", b"g" * 32])
def test_request_id_that_is_no_uuid_is_no_trace(value: bytes) -> None:
    assert trace_of_request_id(value) is None


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        (f"01-{TRACE_ID}-{PARENT_ID}-01-more", True),
        ("", False),
        (f"00-{TRACE_ID}-{PARENT_ID}", False),
        (f"00-{TRACE_ID.upper()}-{PARENT_ID}-01", False),
        (f"00-{'0' * 32}-{PARENT_ID}-01", False),
        (f"00-{TRACE_ID}-{'0' * 16}-01", False),
        (f"ff-{TRACE_ID}-{PARENT_ID}-01", False),
        (f"{TRACEPARENT}-more", False),
        (f"{TRACEPARENT}\n", False),
    ],
)
def test_only_a_later_version_of_traceparent_may_have_other_parts(value: str, valid: bool) -> None:
    assert (parse_traceparent(value.encode()) is not None) == valid


def test_each_request_is_one_line_without_ids(capsys: pytest.CaptureFixture[str]) -> None:
    with logging(authentication=Authentication(ApiKeys([f"shop:{digest('k')}"]))) as client:
        client.post("/double?u-secret", content=b"1", headers=KEY)
        for path in ("/of/u-secret", "/of/broken", "/u-secret"):
            client.get(path, headers=KEY)
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
    assert {line["peer"] for line in found} == {"testclient"}
    assert "u-secret" not in str(found)


def test_ids_are_logged_where_they_are_asked_for_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with logging(ids=True) as client:
        client.post("/double?a=1", content=b"1")
        client.get("/of/a%0A%7B%22event%22%3A1%7D")
    first, second = lines(capsys)
    assert (first["target"], first["user_id"]) == ("/double?a=1", "u-secret")
    assert second["target"] == '/of/a\n{"event":1}'


async def test_operators_have_a_port_of_their_own_with_problem_documents(registry: CollectorRegistry) -> None:
    app = build(registry, serve_metrics=False)
    unready = health_router(lambda: ["no model is loaded"])
    async with (
        metrics_server(registry, LOOPBACK, 0, unready) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert (await client.get("/metrics")).status_code == 200
        assert (await client.get("/docs")).status_code == 404
        answer = await client.get("/ready")
        assert (answer.status_code, answer.json()["detail"]) == (503, "no model is loaded")
        with pytest.raises(ServerStartError, match=str(port)):
            async with metrics_server(registry, LOOPBACK, port):
                pass
    assert TestClient(app).get("/metrics").status_code == 404
