"""The producer's metrics."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from reprise.http.metrics import DependencyMetrics, Observe
from reprise.http.tracing.factory import Tracing
from reprise.log import EVENTS

_APPEND = {"messaging.operation.type": "send", "messaging.destination.name": EVENTS.name}
_ACK_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ProducerMetrics:
    """The producer's metrics in a registry; ``buffered`` returns the number of unacknowledged records."""

    def __init__(
        self, registry: CollectorRegistry, buffered: Callable[[], int], tracing: Tracing | None = None
    ) -> None:
        self.registry = registry
        self.event_log = DependencyMetrics(registry, None if tracing is None else tracing.failed).of(
            "event_log"
        )
        self.events = Counter(
            "reprise_producer_events",
            "Events by source (http, simulator) and outcome (accepted; rejected: invalid; failed: not acknowledged).",
            ("source", "outcome"),
            registry=registry,
        )
        acknowledgement = Histogram(
            "reprise_producer_acknowledgement_seconds",
            "Time until the log has acknowledged a request's events, in seconds.",
            buckets=_ACK_BUCKETS,
            registry=registry,
        )
        took: Observe = acknowledgement.observe
        self.acknowledged = took if tracing is None else tracing.staged("append", took, "producer", _APPEND)
        self.simulated_rate = Gauge(
            "reprise_producer_simulated_events_per_second",
            "Simulated events per second since the simulator's last report.",
            registry=registry,
        )
        waiting = Gauge(
            "reprise_producer_buffered_records",
            "Records not yet acknowledged by the log.",
            registry=registry,
        )
        waiting.set_function(buffered)
