"""The producer's HTTP application."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from reprise.events.user_ids import user_id_hash
from reprise.http.app import create_http_app
from reprise.http.middleware.access_log import AccessLog
from reprise.http.middleware.authentication import Authentication
from reprise.http.operations import health_router
from reprise.http.server import metrics_server
from reprise.http.tracing.factory import Tracing
from reprise.log import LogProducer
from reprise.producer.handlers.events import events_router
from reprise.producer.metrics import ProducerMetrics
from reprise.producer.services.ingest import EventIngest
from reprise.producer.settings import ProducerSettings
from reprise.runtime.worker_threads import WorkerThreads


def create_app(
    settings: ProducerSettings,
    log: LogProducer,
    metrics: ProducerMetrics,
    tracing: Tracing | None = None,
    workers: WorkerThreads | None = None,
) -> FastAPI:
    """Return the application; workers and tracing end with it."""

    def readiness() -> list[str]:
        problem = log.problem()
        return [] if problem is None else [f"event log: {problem}"]

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if settings.metrics_port is not None:
                routes = health_router(readiness)
                await stack.enter_async_context(
                    metrics_server(metrics.registry, settings, settings.metrics_port, routes)
                )
            yield

    app = create_http_app(
        title="Reprise producer",
        description="Takes shopping events and appends them to the event log.",
        registry=metrics.registry,
        readiness=readiness,
        lifespan=lifespan,
        workers=workers,
        max_body_bytes=settings.max_body_bytes,
        docs=settings.api_docs,
        root_path=settings.api_root_path,
        serve_metrics=settings.metrics_port is None,
        authentication=Authentication.of(settings),
        access_log=AccessLog.of(settings),
        tracing=tracing,
    )
    ingest = EventIngest(
        log,
        metrics,
        settings.ack_timeout_seconds,
        settings.arrival_window,
        settings.kept_fields,
        user_id_hash(settings.user_id_key_file),
    )
    app.include_router(events_router(ingest, settings.max_events))
    return app
