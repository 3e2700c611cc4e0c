"""The producer's HTTP application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from reprise.http.app import create_http_app
from reprise.http.background import BackgroundTasks
from reprise.http.metrics import installed_version
from reprise.http.tracing.stages import Tracing
from reprise.log import LogProducer
from reprise.producer.handlers.events import events_router
from reprise.producer.metrics import ProducerMetrics
from reprise.producer.services.ingest import EventIngest
from reprise.producer.settings import ProducerSettings


@dataclass(frozen=True, slots=True)
class ProducerContext:
    """The producer's parts; ``simulator`` and ``tracing`` end with the application, where there are such."""

    settings: ProducerSettings
    log: LogProducer
    metrics: ProducerMetrics
    ingest: EventIngest
    simulator: BackgroundTasks | None = None
    tracing: Tracing | None = None

    @property
    def registry(self) -> CollectorRegistry:
        """Where the metrics are."""
        return self.metrics.registry

    def reasons_not_ready(self) -> list[str]:
        """Return why the process should not be sent requests."""
        problem = self.log.problem()
        return [] if problem is None else [f"event log: {problem}"]


def build_ingest(settings: ProducerSettings, log: LogProducer, metrics: ProducerMetrics) -> EventIngest:
    """Return the service behind ``POST /events``."""
    return EventIngest(log, metrics, settings.ack_timeout_seconds)


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
