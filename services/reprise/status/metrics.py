"""The status page's own metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LEVELS = ("good", "watch", "bad")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class StatusMetrics:
    """The metrics in one registry; ``seconds`` and ``polled`` are duration and end of polls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._scrapes = Counter(
            "reprise_status_scrapes",
            "Scrapes of processes, by service and outcome: answered, failed.",
            ("service", "outcome"),
            registry=registry,
        )
        self.seconds = Histogram(
            "reprise_status_look_seconds",
            "Duration of a poll of every process.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.polled = Gauge(
            "reprise_status_look_timestamp_seconds", "Time when the latest poll ended.", registry=registry
        )
        self._level = Gauge(
            "reprise_status_verdict",
            "1 for the level of the platform: good, watch (needs attention), bad.",
            ("level",),
            registry=registry,
        )

    def answered(self, service: str) -> None:
        """Count a successful scrape."""
        self._scrapes.labels(service, "answered").inc()

    def failed(self, service: str) -> None:
        """Count a failed scrape."""
        self._scrapes.labels(service, "failed").inc()

    def set_level(self, level: str) -> None:
        """Set the level of the platform."""
        for each in LEVELS:
            self._level.labels(each).set(each == level)
