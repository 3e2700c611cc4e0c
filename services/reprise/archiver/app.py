"""The archiver's HTTP application: health, readiness and metrics."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from reprise.http.app import create_http_app
from reprise.http.background import BackgroundTasks
from reprise.http.metrics import installed_version

DISTRIBUTION = "reprise-archiver"


def create_app(
    registry: CollectorRegistry,
    readiness: Callable[[], Sequence[str]],
    workers: BackgroundTasks,
    stop_seconds: float,
) -> FastAPI:
    """Return the application; the workers run as long as it does."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        workers.start()
        yield
        workers.stop(stop_seconds)

    return create_http_app(
        title="Reprise archiver",
        version=installed_version(),
        description="Keeps the event log and the prediction log as Parquet.",
        registry=registry,
        readiness=readiness,
        lifespan=lifespan,
    )
