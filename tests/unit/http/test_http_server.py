import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from reprise.http.app import create_http_app
from reprise.http.exceptions import ServerStartError
from reprise.http.server import run_service
from reprise.runtime.settings import ApiSettings
from support.collection import SOAK
from support.redis import free_port
from support.waiting import wait_until

PROGRAM = """
import asyncio, json, sys
from contextlib import asynccontextmanager
from fastapi import Request
from prometheus_client import CollectorRegistry
from reprise.http.app import create_http_app
from reprise.http.server import metrics_server, run_service
from reprise.runtime.settings import ApiSettings
metrics_port, drain_seconds, timeout, given = json.loads(sys.argv[1])
settings = ApiSettings.load(**given)
registry = CollectorRegistry()
@asynccontextmanager
async def lifespan(app):
    async with metrics_server(registry, settings, metrics_port):
        yield
app = create_http_app(title="t", description="d", registry=registry, readiness=list, lifespan=lifespan)
@app.get("/slow")
async def slow() -> str:
    print("under way", flush=True)
    await asyncio.sleep(0.7)
    return "finished"
@app.post("/echo")
async def echo(request: Request) -> int:
    return len(await request.body())
@app.get("/loop")
async def loop() -> str:
    return type(asyncio.get_running_loop()).__module__
@app.get("/peer")
async def peer(request: Request) -> str:
    return request.client.host
run_service(app, settings, drain_seconds=drain_seconds, request_timeout_seconds=timeout)
print("returned", flush=True)
"""


@contextmanager
def serving(
    drain: float = 0.0, timeout: float = 0.6, metrics_port: int = 0, host: str = "127.0.0.1", **settings: Any
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    port = free_port()
    options = json.dumps([metrics_port, drain, timeout, {"api_host": host, "api_port": port} | settings])
    command = [sys.executable, "-c", PROGRAM, options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    base = f"http://{'[::1]' if host == '::1' else '127.0.0.1'}:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                assert get(base + "/health")[0] == 200
                break
            except OSError:
                assert process.poll() is None, "the server ended before it answered"
                assert time.monotonic() < deadline, "the server did not answer in time"
                time.sleep(0.05)
        yield process, base
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def bounded() -> Iterator[dict[str, str]]:
    bounds = {"api_max_connections": 4, "api_max_header_bytes": 4096, "api_max_header_fields": 20}
    proxies = {"api_trusted_proxies": "127.0.0.0/8", "api_keep_alive_seconds": 1}
    metrics_port = free_port()
    with serving(timeout=10, metrics_port=metrics_port, **bounds, **proxies) as (_, base):
        yield {"api": base, "metrics": f"http://127.0.0.1:{metrics_port}"}


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with serving() as (_, base):
        yield base


def test_request_under_way_finishes_after_the_signal() -> None:
    with serving() as (process, base):
        fetch = f"import urllib.request as r; print(r.urlopen('{base}/slow').read().decode())"
        client = subprocess.Popen([sys.executable, "-c", fetch], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert "under way\n" in iter(process.stdout.readline, "")
        os.kill(process.pid, signal.SIGTERM)
        assert client.communicate(timeout=10)[0] == '"finished"\n'
        assert process.wait(60) == 0
        assert process.stdout.read().endswith("returned\n")


def test_draining_process_answers_but_says_it_is_not_ready() -> None:
    with serving(drain=1.5) as (process, base):
        assert get(base + "/ready")[0] == 200
        os.kill(process.pid, signal.SIGTERM)
        wait_until("it is not ready", lambda: get(base + "/ready")[0] == 503, 10, every=0.02)
        assert "the process is shutting down" in get(base + "/ready")[1]
        assert get(base + "/health")[0] == 200
        assert process.wait(60) == 0


def test_interrupt_does_not_wait_for_balancers() -> None:
    with serving(drain=30) as (process, _):
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 0


def test_event_loop_is_the_fast_one(base: str) -> None:
    assert "uvloop" in get(base + "/loop")[1]


def test_taken_port_is_named(base: str) -> None:
    port = int(base.rsplit(":", 1)[1])
    app = create_http_app(title="t", description="d", registry=CollectorRegistry(), readiness=list)
    with pytest.raises(ServerStartError, match=f"cannot listen on 127.0.0.1:{port}"):
        run_service(app, ApiSettings.load(api_host="127.0.0.1", api_port=port))


@pytest.mark.parametrize(
    ("host", "families"),
    [
        ("::", {"127.0.0.1", "::1"}),
        ("::1", {"::1"}),
        ("0.0.0.0", {"127.0.0.1"}),
        ("127.0.0.1", {"127.0.0.1"}),
    ],
)
def test_an_address_is_listened_on_in_its_families(host: str, families: set[str]) -> None:
    metrics_port = free_port()
    with serving(metrics_port=metrics_port, host=host) as (_, base):
        for port in (int(base.rsplit(":", 1)[1]), metrics_port):
            reached = set()
            for address in ("127.0.0.1", "::1"):
                with suppress(OSError), socket.create_connection((address, port), timeout=5):
                    reached.add(address)
            assert reached == families


def trickle(base: str, pieces: list[bytes], pause: float) -> bytes:
    """Send a request piece by piece until the server has had enough, and return what it said."""
    port = int(base.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        try:
            for number, piece in enumerate(pieces):
                time.sleep(pause if number else 0)
                connection.sendall(piece)
        except ConnectionError:
            pass
        said = b""
        try:
            while part := connection.recv(4096):
                said += part
        except ConnectionResetError:
            pass
        return said


GET = b"GET /health HTTP/1.1\r\nHost: x\r\n"
HEAD = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"


def test_body_that_trickles_in_is_answered_408_and_others_go_on(base: str) -> None:
    start = time.monotonic()
    said = trickle(base, [HEAD, *[b"x"] * 20], 0.1)
    assert time.monotonic() - start < 3
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"urn:reprise:problem:request-timeout" in said
    assert get(base + "/health")[0] == 200


def test_head_that_trickles_in_loses_its_connection(base: str) -> None:
    start = time.monotonic()
    assert trickle(base, [HEAD[at : at + 1] for at in range(30)], 0.1) == b""
    assert time.monotonic() - start < 4


def test_new_connection_without_bytes_is_kept(base: str) -> None:
    said = trickle(base, [b"", GET + b"Connection: close\r\n\r\n"], 6.0 if SOAK else 1.5)
    assert said.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("earlier", [b"", GET + b"\r\n"], ids=["new", "kept"])
def test_connection_with_a_line_break_alone_is_closed(base: str, earlier: bytes) -> None:
    start = time.monotonic()
    trickle(base, [earlier, b"\r\n"], 0.2)
    assert time.monotonic() - start < 4


def test_silent_connection_is_kept_and_answers_may_take_their_time(base: str) -> None:
    # The silence and the answer take longer than the request timeout; uvicorn by default keeps a connection for 5 s.
    head = b"GET /slow HTTP/1.1\r\nHost: x\r\n"
    said = trickle(base, [head + b"\r\n", head + b"Connection: close\r\n\r\n"], 6.0 if SOAK else 0.8)
    assert said.count(b"HTTP/1.1 200 OK") == 2
    assert ApiSettings.load().api_keep_alive_seconds > 600


UPGRADE = b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: %s, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
SMUGGLED = b"GET /peer HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("is_split", [False, True], ids=["together", "split"])
@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: %d\r\n\r\n%s" % (len(SMUGGLED), SMUGGLED),
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
    ],
    ids=["length", "chunked"],
)
def test_upgrade_is_ignored_and_the_body_is_read(base: str, body: bytes, is_split: bool) -> None:
    requests = [
        UPGRADE % b"Upgrade" + body,
        b"GET /loop HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nHost: x\r\n\r\n",
        UPGRADE % b"close, Upgrade" + body,
    ]
    split = [piece for each in requests for piece in each.partition(b"\r\n\r\n")]
    answers = trickle(base, split if is_split else [b"".join(requests)], 0.02).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200"] * 3
    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers]
    assert bodies[0] == bodies[2] == b"%d" % len(SMUGGLED)
    assert b"uvloop" in bodies[1]


def test_body_after_an_upgrade_that_trickles_in_is_answered_408(base: str) -> None:
    head = HEAD.removesuffix(b"\r\n") + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert trickle(base, [head, *[b"x"] * 20], 0.1).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("address", [b"x:443", b"/peer"])
def test_connect_is_refused_and_its_connection_closed(base: str, address: bytes) -> None:
    head = b"CONNECT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n" % address
    said = trickle(base, [head, SMUGGLED], 0.05)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1 ") == 1


CHUNKED = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"


@pytest.mark.parametrize("port", ["api", "metrics"])
@pytest.mark.parametrize(
    "pieces",
    [
        [GET, b"X: " + b"x" * 5000],
        [GET + b"X: " + b"x" * 5000 + b"\r\n\r\n"],
        [GET + b"".join(b"X-%d: 1\r\n" % number for number in range(30)) + b"\r\n"],
        [b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"],
    ],
    ids=["unfinished", "bytes", "fields", "address"],
)
def test_headers_beyond_the_bounds_are_refused(
    bounded: dict[str, str], port: str, pieces: list[bytes]
) -> None:
    said = trickle(bounded[port], pieces, 0.0)
    assert said.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"urn:reprise:problem:headers-too-large" in said
    assert get(bounded["api"] + "/health")[0] == 200


@pytest.mark.parametrize("port", ["api", "metrics"])
@pytest.mark.parametrize(
    "request_",
    [
        "GET /übersicht HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: five\r\n\r\nhello",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"hello\r\n\r\n",
    ],
    ids=["address", "length", "chunk", "garbage"],
)
def test_invalid_http_is_answered_with_a_problem(bounded: dict[str, str], port: str, request_: bytes) -> None:
    head, _, body = trickle(bounded[port], [request_], 0.0).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert {b"content-type: application/problem+json", b"connection: close"} <= set(head.split(b"\r\n"))
    assert json.loads(body)["type"] == "urn:reprise:problem:bad-request"


def test_endless_trailer_loses_its_connection(bounded: dict[str, str]) -> None:
    said = trickle(bounded["api"], [CHUNKED, *[b"x" * 4096] * 20], 0.001)
    assert b"200 OK" not in said
    assert get(bounded["api"] + "/health")[0] == 200


@pytest.mark.parametrize("port", ["api", "metrics"])
def test_connection_beyond_the_maximum_replaces_the_idle_one(bounded: dict[str, str], port: str) -> None:
    address = ("127.0.0.1", int(bounded[port].rsplit(":", 1)[1]))
    idle = [socket.create_connection(address, timeout=5) for _ in range(8)]
    try:
        assert get(bounded[port] + "/metrics")[0] == 200
        # The oldest were closed, so that at most four are left.
        assert [connection.recv(1) for connection in idle[:4]] == [b""] * 4
    finally:
        for connection in idle:
            connection.close()


def test_idle_connection_ends_after_the_setting(bounded: dict[str, str]) -> None:
    start = time.monotonic()
    said = trickle(bounded["api"], [GET + b"\r\n"], 0.0)
    assert said.startswith(b"HTTP/1.1 200 OK")
    assert time.monotonic() - start < 4


@pytest.mark.parametrize("port", ["api", "metrics"])
def test_new_connection_without_bytes_ends_after_the_setting(bounded: dict[str, str], port: str) -> None:
    start = time.monotonic()
    assert trickle(bounded[port], [], 0.0) == b""
    assert 0.9 < time.monotonic() - start < 4


def test_client_behind_a_trusted_proxy_is_the_one_that_it_names(bounded: dict[str, str]) -> None:
    head = b"GET /peer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    forwarded = b"X-Forwarded-For: 192.0.2.9, 198.51.100.7, 127.0.0.2\r\n\r\n"
    assert trickle(bounded["api"], [head + forwarded], 0.0).endswith(b'"198.51.100.7"')
