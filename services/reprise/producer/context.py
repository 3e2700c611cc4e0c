"""What the producer's parts are built from, once."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from reprise.http.background import BackgroundTasks
from reprise.http.tracing import Tracing
from reprise.log import LogProducer
from reprise.producer.ingest import EventIngest
from reprise.producer.metrics import ProducerMetrics
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
