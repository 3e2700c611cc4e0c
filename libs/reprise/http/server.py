"""Serving applications by uvicorn: request timeout, drain after SIGTERM, ``/metrics`` on its own port."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reprise.http.exceptions import ServerStartError
from reprise.http.operations import metrics_router
from reprise.http.problems import PROBLEM_MEDIA_TYPE, REQUEST_TIMEOUT, ProblemError, add_problem_handlers
from reprise.runtime.logs import get_logger
from reprise.runtime.settings import ApiSettings
from reprise.runtime.worker_threads import WorkerThreads

_log = get_logger(__name__)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHUTDOWN_SECONDS = 20

KEEP_ALIVE_SECONDS = 620
"""Idle timeout of a connection. It exceeds that of load balancers (nginx and AWS 60 s, Google 600 s), so that they
close first: a request that meets a connection just being closed gets 502 or 503."""


_COMMON: dict[str, Any] = {
    "access_log": False,
    "log_config": None,
    "server_header": False,
    "ws": "none",
    "timeout_keep_alive": KEEP_ALIVE_SECONDS,
}


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
    protocol = type("TimeoutProtocol", (_TimeoutProtocol,), {"timeout_seconds": request_timeout_seconds})
    config = uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        http=protocol,
        proxy_headers=False,
        lifespan="on",
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        **_COMMON,
    )
    server = _DrainingServer(config, app, drain_seconds)
    try:
        server.run()
    except SystemExit as error:
        address = f"{settings.api_host}:{settings.api_port}"
        raise ServerStartError(f"cannot listen on {address}; is the port taken?") from error
    if not server.started:
        raise ServerStartError("the application did not start; the log says why")
    workers: WorkerThreads | None = app.state.workers
    if workers is not None and workers.failure is not None:
        raise workers.failure


@asynccontextmanager
async def metrics_server(
    registry: CollectorRegistry, host: str, port: int, *others: APIRouter
) -> AsyncIterator[int]:
    """Serve ``/metrics``, and other routes for operators, from this event loop; gives the port.

    Raises:
        ServerStartError: The address is taken.
    """
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        raise ServerStartError(f"cannot listen on {host}:{port} for metrics: {error}") from error
    app = FastAPI(openapi_url=None, telemetry={"tracing": False, "metrics": False, "logs": False})
    add_problem_handlers(app)
    for router in (metrics_router(registry), *others):
        app.include_router(router)
    config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1, **_COMMON)
    server = uvicorn.Server(config)
    # The signals are left to the application's own server.
    server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
        listener.close()


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


class _TimeoutProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, which closes a connection whose request takes too long to arrive.

    The time runs from the first byte of a request to its last, or from the start of a new connection. A client that
    has sent the head gets 408. Each connection has one timer, which is set again when it expires rather than with each
    request.
    """

    timeout_seconds = 10.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._receiving = True
        self._started = self.loop.time()
        self._timer = self.loop.call_later(self.timeout_seconds, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._receiving = True
        self._started = self.loop.time()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._receiving = False
        super().on_message_complete()

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
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.response_started:
            detail = f"The request did not arrive within {self.timeout_seconds:g} s."
            body = ProblemError(REQUEST_TIMEOUT, detail).encode()
            head = (
                f"HTTP/1.1 408 Request Timeout\r\ncontent-type: {PROBLEM_MEDIA_TYPE}\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        _log.warning("request_arrives_too_slowly", seconds=self.timeout_seconds)
        self.transport.close()
