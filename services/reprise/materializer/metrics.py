"""The materializer's metrics."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from reprise.http.dependency_metrics import DependencyMetrics

_OUTCOMES = ("folded", "replayed", "duplicate", "ignored", "invalid")
_FRESHNESS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
_BATCH_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class MaterializerMetrics:
    """What the materializer counts, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        dependencies = DependencyMetrics(registry)
        self.online_store = dependencies.of("online_store")
        self.event_log = dependencies.of("event_log")
        self.events = Counter(
            "reprise_materializer_events",
            "Records by what became of them: folded; replayed: folded before, redelivered; duplicate: its event_id"
            " was seen before; ignored: of a type that makes no feature; invalid: sent to the dead letters.",
            ("outcome",),
            registry=registry,
        )
        # A counter that begins with its first event hides that one from whoever asks for its increase.
        for outcome in _OUTCOMES:
            self.events.labels(outcome)
        self.conflicts = Counter(
            "reprise_materializer_conflicts",
            "Rows that changed between their read and their write, and were merged anew.",
            ("view",),
            registry=registry,
        )
        self.batch = Histogram(
            "reprise_materializer_batch_seconds",
            "From having a partition's records to their commit.",
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self.freshness = Histogram(
            "reprise_materializer_freshness_seconds",
            "From an event's own timestamp until its features can be read.",
            buckets=_FRESHNESS_BUCKETS,
            registry=registry,
        )
        self._lag = Gauge(
            "reprise_materializer_lag_records",
            "Records of an assigned partition that are not folded yet.",
            ("partition",),
            registry=registry,
        )
        self._partitions: frozenset[str] = frozenset()

    def show_lag(self, lags: Mapping[int, int]) -> None:
        """Show how far behind each assigned partition is, and nothing of those that others hold by now."""
        held = frozenset(map(str, lags))
        for gone in self._partitions - held:
            self._lag.remove(gone)
        self._partitions = held
        for partition, lag in lags.items():
            self._lag.labels(str(partition)).set(lag)
