"""``/metrics`` on a port of its own."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry

from reprise.http.exceptions import ServerStartError
from reprise.http.handlers import answer_errors_with_problems
from reprise.http.metrics import metrics_router
from reprise.http.server import KEEP_ALIVE_SECONDS


@asynccontextmanager
async def metrics_server(
    registry: CollectorRegistry, host: str, port: int, *others: APIRouter
) -> AsyncIterator[int]:
    """Serve the metrics from this event loop while inside; gives the port.

    Args:
        registry: Where the metrics are.
        host: Address to listen on.
        port: TCP port to listen on; 0 for one that is free.
        others: What else is for operators only.

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
    answer_errors_with_problems(app)
    app.include_router(metrics_router(registry))
    for router in others:
        app.include_router(router)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        ws="none",
        lifespan="off",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
        listener.close()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the application's own server."""
        yield
