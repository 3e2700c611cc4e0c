"""Serving an application until a signal, letting requests under way finish."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from reprise.http.arrival import arrival_protocol
from reprise.http.exceptions import ServerStartError
from reprise.runtime.logs import get_logger
from reprise.runtime.settings import ApiSettings
from reprise.runtime.worker_threads import WorkerThreads

_log = get_logger(__name__)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)

KEEP_ALIVE_SECONDS = 620
"""How long a connection without a request is kept. Longer than balancers keep theirs (nginx and AWS 60 s, Google
600 s), so that it is they who close it: a request that meets a connection just being closed is answered 502 or 503."""


def is_draining(app: FastAPI) -> bool:
    """Return whether the server of this application has been told to stop."""
    return bool(getattr(app.state, "draining", False))


def run(
    app: FastAPI,
    host: str,
    port: int,
    *,
    drain_seconds: float = 0.0,
    finish_seconds: float = 20.0,
    arrival_seconds: float = 10.0,
    backlog: int = 2048,
) -> None:
    """Serve the application until SIGTERM or SIGINT, then return.

    On SIGTERM the process turns unready and goes on answering for ``drain_seconds``, so that balancers
    notice; then it takes no more connections and lets the requests under way finish. SIGINT, and
    any second signal, skip the wait. uvloop is used where it is installed.

    Args:
        app: The application.
        host: Address to listen on.
        port: TCP port to listen on; 0 for one that is free.
        drain_seconds: How long to go on answering after SIGTERM.
        finish_seconds: How long requests under way may take after that.
        arrival_seconds: How long a request may take from its first byte to its last.
        backlog: Connections that may wait to be accepted.

    Raises:
        ServerStartError: The address is taken, or the application's start failed.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        backlog=backlog,
        http=arrival_protocol(arrival_seconds),  # type: ignore[arg-type] # a class is taken as well
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(finish_seconds)),
    )
    server = _Server(config, app, drain_seconds)
    try:
        server.run()
    except SystemExit as error:
        raise ServerStartError(f"cannot listen on {host}:{port}; is the port taken?") from error
    if not server.started:
        raise ServerStartError("the application did not start; the log says why")


def run_service(
    app: FastAPI,
    settings: ApiSettings,
    *,
    drain_seconds: float = 0.0,
    request_timeout_seconds: float = 10.0,
) -> None:
    """Serve an application of ``create_http_app`` at its configured address until SIGTERM or SIGINT.

    Raises:
        ServerStartError: The address is taken, or the application's start failed.
        Exception: What a worker thread of the application raised.
    """
    run(
        app,
        settings.api_host,
        settings.api_port,
        drain_seconds=drain_seconds,
        arrival_seconds=request_timeout_seconds,
    )
    workers: WorkerThreads | None = app.state.workers
    if workers is not None and workers.failure is not None:
        raise workers.failure


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: FastAPI, drain_seconds: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain_seconds = drain_seconds

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals for the time of serving; unlike uvicorn's, do not raise them again after."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _stop(self, number: int) -> None:
        again = is_draining(self._app)
        self._app.state.draining = True
        wait = self._drain_seconds if number == signal.SIGTERM and not again else 0.0
        _log.info("draining", signal=signal.Signals(number).name, seconds=wait)
        if self.should_exit:
            self.force_exit = True
        asyncio.get_running_loop().call_later(wait, self._exit)

    def _exit(self) -> None:
        self.should_exit = True
