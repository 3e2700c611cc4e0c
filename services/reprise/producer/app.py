"""The producer's HTTP application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from reprise.http.app import create_http_app
from reprise.http.metrics import installed_version
from reprise.producer.context import ProducerContext
from reprise.producer.handlers import events_router

DISTRIBUTION = "reprise-producer"


def create_app(context: ProducerContext) -> FastAPI:
    """Return the application."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if context.simulator is not None:
            context.simulator.start()
        yield
        if context.simulator is not None:
            context.simulator.stop(context.settings.flush_timeout_seconds)

    app = create_http_app(
        title="Reprise producer",
        version=installed_version(),
        description="Takes shopping events and appends them to the event log.",
        registry=context.registry,
        readiness=context.reasons_not_ready,
        lifespan=lifespan,
        max_body_bytes=context.settings.max_body_bytes,
        tracing=context.tracing,
    )
    app.include_router(events_router(context.ingest, context.settings.max_events))
    return app
