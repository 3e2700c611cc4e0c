"""The archiver's metrics."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from reprise.http.dependency_metrics import DependencyMetrics

_WRITE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class ArchiverMetrics:
    """What the archiver counts, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        dependencies = DependencyMetrics(registry)
        self.offline_store = dependencies.of("offline_store")
        self.event_log = dependencies.of("event_log")
        self.records = Counter(
            "reprise_archiver_records",
            "Records that are in the offline store and committed; rejected: kept, but no valid event.",
            ("topic", "outcome"),
            registry=registry,
        )
        self.segments = Counter(
            "reprise_archiver_segments", "Segments written and committed.", ("topic",), registry=registry
        )
        self.written_bytes = Counter(
            "reprise_archiver_written_bytes", "Bytes of Parquet written.", ("topic",), registry=registry
        )
        self.lost = Counter(
            "reprise_archiver_lost_records",
            "Offsets that the log no longer had when they were to be archived.",
            ("topic",),
            registry=registry,
        )
        self.missing = Gauge(
            "reprise_archiver_missing_records",
            "Records that are to be archived next and that the log has deleted; their partitions are not read on.",
            ("topic",),
            registry=registry,
        )
        self.write = Histogram(
            "reprise_archiver_write_seconds",
            "From having a segment's records to their commit.",
            buckets=_WRITE_BUCKETS,
            registry=registry,
        )
        self.waiting = Gauge(
            "reprise_archiver_waiting_records",
            "Records that are read and wait for the end of their segment.",
            ("topic",),
            registry=registry,
        )
        self._lag = Gauge(
            "reprise_archiver_lag_records",
            "Records of an assigned partition that are not read yet.",
            ("topic", "partition"),
            registry=registry,
        )
        self._partitions: dict[str, frozenset[str]] = {}

    def begin(self, topic: str) -> None:
        """Show what is counted of a topic at zero: who asks for an increase would miss one that begins later."""
        for outcome in ("archived", "rejected"):
            self.records.labels(topic, outcome)
        for metric in (self.segments, self.written_bytes, self.lost, self.missing):
            metric.labels(topic)

    def show_lag(self, topic: str, lags: Mapping[int, int]) -> None:
        """Show how far behind each assigned partition is, and nothing of those that others hold by now."""
        held = frozenset(map(str, lags))
        for gone in self._partitions.get(topic, frozenset()) - held:
            self._lag.remove(topic, gone)
        self._partitions[topic] = held
        for partition, lag in lags.items():
            self._lag.labels(topic, str(partition)).set(lag)
