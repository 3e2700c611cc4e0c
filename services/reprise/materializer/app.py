"""The materializer's HTTP application: health, readiness and metrics."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from reprise.http.app import create_http_app
from reprise.http.background import BackgroundTasks
from reprise.http.metrics import installed_version

DISTRIBUTION = "reprise-materializer"


def create_app(
    registry: CollectorRegistry,
    readiness: Callable[[], Sequence[str]],
    worker: BackgroundTasks,
    stop_seconds: float,
) -> FastAPI:
    """Return the application; the worker runs as long as it does."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        worker.stop(stop_seconds)

    return create_http_app(
        title="Reprise materializer",
        version=installed_version(),
        description="Folds the event log into online features.",
        registry=registry,
        readiness=readiness,
        lifespan=lifespan,
    )
