"""The materializer's metrics."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from reprise.http.metrics import DependencyMetrics, PartitionGauge

_OUTCOMES = ("folded", "replayed", "duplicate", "ignored", "erased", "invalid", "early", "late", "failed")
_FRESHNESS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
_BATCH_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class MaterializerMetrics:
    """The materializer's metrics in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        dependencies = DependencyMetrics(registry)
        self.online_store = dependencies.of("online_store")
        self.event_log = dependencies.of("event_log")
        self.events = Counter(
            "reprise_materializer_events",
            "Records by outcome. folded; replayed: redelivered and already folded; duplicate: event_id already"
            " claimed; ignored: of a type without features; erased: erasures of users. Sent to the dead letters:"
            " invalid; early: later than its arrival and the allowed clock skew; late: beyond the maximum age at its"
            " arrival; failed: folding it raised an error.",
            ("outcome",),
            registry=registry,
        )
        # increase() misses the first event of a counter that starts with it
        for outcome in _OUTCOMES:
            self.events.labels(outcome)
        self.conflicts = Counter(
            "reprise_materializer_conflicts",
            "Rows that changed between read and write, and were merged again.",
            ("view",),
            registry=registry,
        )
        histogram = partial(Histogram, registry=registry)
        self.batch = histogram(
            "reprise_materializer_batch_seconds",
            "Time to fold and write a batch of records, in seconds.",
            buckets=_BATCH_BUCKETS,
        )
        self.freshness = histogram(
            "reprise_materializer_freshness_seconds",
            "Time from an event's timestamp until its features are readable, in seconds.",
            buckets=_FRESHNESS_BUCKETS,
        )
        gauge = partial(Gauge, labelnames=("partition",), registry=registry)
        lag = "Records of an assigned partition that are not yet folded."
        self.lag = PartitionGauge(gauge("reprise_materializer_lag_records", lag))
        unreadable = "Offset at which a partition is paused because its records cannot be decoded."
        self.unreadable = PartitionGauge(gauge("reprise_materializer_unreadable_offset", unreadable))
