"""Serving applications by uvicorn: request timeout, drain after SIGTERM, ``/metrics`` on its own port."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from http import HTTPStatus
from itertools import count
from typing import Any, cast

import httptools
import uvicorn
from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reprise.http.exceptions import ServerStartError
from reprise.http.operations import metrics_router
from reprise.http.problems import (
    BAD_REQUEST,
    HEADERS_TOO_LARGE,
    PROBLEM_MEDIA_TYPE,
    REQUEST_TIMEOUT,
    ProblemError,
    add_problem_handlers,
)
from reprise.runtime.logs import get_logger
from reprise.runtime.settings import ApiSettings
from reprise.runtime.worker_threads import WorkerThreads

_log = get_logger(__name__)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHUTDOWN_SECONDS = 20

_FULL_LOG_SECONDS = 10.0
_INVALID_HTTP = (
    "The request is not valid HTTP/1.1; an address takes ASCII, so percent-encode other characters."
)
_numbers = count()
_COMMON: dict[str, Any] = {"access_log": False, "log_config": None, "server_header": False, "ws": "none"}


def is_draining(app: FastAPI) -> bool:
    """Return whether the server of this application is stopping."""
    return bool(getattr(app.state, "draining", False))


def run_service(
    app: FastAPI,
    settings: ApiSettings,
    *,
    drain_seconds: float = 0.0,
    request_timeout_seconds: float = 10.0,
) -> None:
    """Serve an application of ``create_http_app`` until SIGTERM or SIGINT.

    On SIGTERM the process turns unready and goes on answering for ``drain_seconds``, so that load balancers notice.
    Then it accepts no more connections and finishes the requests in flight. SIGINT, and any second signal, skip the
    wait.

    Args:
        app: The application.
        settings: The address to listen on; port 0 is any free port.
        drain_seconds: Time to go on answering after SIGTERM.
        request_timeout_seconds: Maximum time from the first byte of a request to its last.

    Raises:
        ServerStartError: The address is taken, or the application's start failed.
        Exception: What a worker thread of the application raised.
    """
    config = uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        proxy_headers=settings.api_trusted_proxies is not None,
        forwarded_allow_ips=settings.api_trusted_proxies or "",
        lifespan="on",
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        **_limits(settings, request_timeout_seconds),
        **_COMMON,
    )
    server = _DrainingServer(config, app, drain_seconds)
    with _bound_socket(settings.api_host, settings.api_port) as listener:
        server.run(sockets=[listener])
    if not server.started:
        raise ServerStartError("the application did not start; the log says why")
    workers: WorkerThreads | None = app.state.workers
    if workers is not None and workers.failure is not None:
        raise workers.failure


@asynccontextmanager
async def metrics_server(
    registry: CollectorRegistry, settings: ApiSettings, port: int, *others: APIRouter
) -> AsyncIterator[int]:
    """Serve ``/metrics``, and other routes for operators, from this event loop; gives the port.

    The settings give the host and the limits of connections.

    Raises:
        ServerStartError: The address is taken.
    """
    app = FastAPI(openapi_url=None, telemetry={"tracing": False, "metrics": False, "logs": False})
    add_problem_handlers(app)
    for router in (metrics_router(registry), *others):
        app.include_router(router)
    limits = _limits(settings)
    config = uvicorn.Config(
        app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1, **limits, **_COMMON
    )
    server = uvicorn.Server(config)
    # The signals are left to the application's own server.
    server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]
    with _bound_socket(settings.api_host, port) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


def _bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that does not listen yet; ``::`` is every address, of IPv4 too."""
    is_v6 = ":" in host
    bound = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_v6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ServerStartError(
            f"cannot listen on {f'[{host}]' if is_v6 else host}:{port}: {error}"
        ) from error
    _log.info("bound", host=host, port=bound.getsockname()[1])
    return bound


class _DrainingServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: FastAPI, drain_seconds: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain_seconds = drain_seconds

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals while serving; unlike uvicorn's, do not raise them again afterwards."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._drain, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _drain(self, number: int) -> None:
        again = is_draining(self._app)
        self._app.state.draining = True
        wait = self._drain_seconds if number == signal.SIGTERM and not again else 0.0
        _log.info("draining", signal=signal.Signals(number).name, seconds=wait)
        if self.should_exit:
            self.force_exit = True
        asyncio.get_running_loop().call_later(wait, setattr, self, "should_exit", True)


def _limits(settings: ApiSettings, request_timeout_seconds: float = 10.0) -> dict[str, Any]:
    limits = {
        "timeout_seconds": request_timeout_seconds,
        "max_connections": settings.api_max_connections,
        "max_header_bytes": settings.api_max_header_bytes,
        "max_header_fields": settings.api_max_header_fields,
    }
    protocol = type("BoundedProtocol", (_BoundedProtocol,), limits)
    return {"http": protocol, "timeout_keep_alive": settings.api_keep_alive_seconds}


class _HeadersTooLargeError(Exception):
    pass


class _TunnelError(Exception):
    pass


class _BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with bounds on the time, the headers and the number of connections.

    A request that takes longer than ``timeout_seconds`` to arrive loses its connection, with 408 if its head has
    arrived. The time runs from the first byte of a request to its last. Each connection has one timer, which is set
    again when it expires rather than with each request. A connection without bytes ends after the keep-alive timeout.

    Headers beyond the bounds get 431; so do other bytes without a body in them, such as trailers and the extensions of
    chunks. With too many connections, the one that has been idle longest is closed.

    ``Upgrade`` is ignored (RFC 9110, section 7.8), and ``CONNECT`` gets 400.
    """

    timeout_seconds: float
    max_connections: int
    max_header_bytes: int
    max_header_fields: int
    next_full_log = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._receiving = False
        # The clock has milliseconds; connections of the same one are closed in their order.
        self._number = next(_numbers)
        self._started = self.loop.time()
        self._timer = self.loop.call_later(self.timeout_seconds, self._check)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
        self._without_body = self._header_bytes = self._header_fields = 0
        if len(self.connections) > self.max_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._without_body += len(data)
        self._unset_keepalive_if_required()
        if not self._receiving and self._is_idle():
            self._receiving = True
            self._started = self.loop.time()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.send_400_response(_INVALID_HTTP)
        # httptools holds a field until it is complete.
        if self._without_body > self.max_header_bytes and not self.transport.is_closing():
            self._refuse_headers()

    def send_400_response(self, msg: str) -> None:
        if self._header_bytes > self.max_header_bytes or self._header_fields > self.max_header_fields:
            self._refuse_headers()
            return
        # The 400 would end up inside an answer that has started.
        if self._is_idle() or not (self.pipeline or self.cycle.response_started):
            self._write(ProblemError(BAD_REQUEST, msg))
        _log.warning("invalid_http", peer=self.client and self.client[0])
        self.transport.close()

    def on_message_begin(self) -> None:
        self._receiving = True
        self._started = self.loop.time()
        self._header_bytes = self._header_fields = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url), 0)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value), 1)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._without_body = 0
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _TunnelError
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._without_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._receiving = False
        self._without_body = 0
        super().on_message_complete()

    def _parse(self, data: bytes) -> None:
        rest = memoryview(data)
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
                self._parse_head_without_upgrade()
            else:
                return

    def _parse_head_without_upgrade(self) -> None:
        """Parse the head again with a new parser, as httptools skips the body of a request with ``Upgrade``."""
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        started = self._started
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))
        self._started = started

    def _count(self, size: int, fields: int) -> None:
        self._header_bytes += size
        self._header_fields += fields
        if self._header_bytes > self.max_header_bytes or self._header_fields > self.max_header_fields:
            raise _HeadersTooLargeError

    def _refuse_headers(self) -> None:
        detail = (
            f"The headers may have {self.max_header_bytes:,} bytes and {self.max_header_fields:,} fields."
        )
        if self._is_idle():
            self._write(ProblemError(HEADERS_TOO_LARGE, detail))
        _log.warning("headers_too_large", peer=self.client and self.client[0])
        self.transport.close()

    def _is_idle(self) -> bool:
        """Return whether no request is being handled."""
        return self.cycle is None or self.cycle.response_complete

    def _make_room(self) -> None:
        """Close the connection that has been idle longest, this one if none is idle."""
        others = cast("set[_BoundedProtocol]", self.connections - {self})
        idle = [each for each in others if each._is_idle() and not each.transport.is_closing()]
        closed = min(idle, key=lambda each: (each._started, each._number), default=self)
        closed.transport.abort()
        now = self.loop.time()
        kind = type(self)
        if now >= kind.next_full_log:
            kind.next_full_log = now + _FULL_LOG_SECONDS
            _log.warning("connections_full", maximum=self.max_connections)

    def _check(self) -> None:
        now = self.loop.time()
        # While reading is paused, nothing can arrive.
        waiting = self._receiving and not self.flow.read_paused
        due = (self._started if waiting else now) + self.timeout_seconds
        if due > now:
            self._timer = self.loop.call_at(due, self._check)
            return
        if self.transport.is_closing():
            return
        if not self._is_idle() and not self.cycle.response_started:
            detail = f"The request did not arrive within {self.timeout_seconds:g} s."
            self._write(ProblemError(REQUEST_TIMEOUT, detail))
        _log.warning("request_arrives_too_slowly", seconds=self.timeout_seconds)
        self.transport.close()

    def _write(self, problem: ProblemError) -> None:
        body = problem.encode()
        head = (
            f"HTTP/1.1 {problem.kind.status} {HTTPStatus(problem.kind.status).phrase}\r\n"
            f"content-type: {PROBLEM_MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
