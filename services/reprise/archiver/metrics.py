"""The archiver's metrics."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from reprise.http.metrics import DependencyMetrics, PartitionGauge

_WRITE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class ArchiverMetrics:
    """The archiver's metrics in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        dependencies = DependencyMetrics(registry)
        self.offline_store = dependencies.of("offline_store")
        self.event_log = dependencies.of("event_log")
        counter = partial(Counter, labelnames=("topic",), registry=registry)
        gauge = partial(Gauge, labelnames=("topic",), registry=registry)
        self.records = Counter(
            "reprise_archiver_records",
            "Records in the offline store with committed offsets; rejected: kept, but not a valid event.",
            ("topic", "outcome"),
            registry=registry,
        )
        self.segments = counter("reprise_archiver_segments", "Segments written and committed.")
        self.written_bytes = counter("reprise_archiver_written_bytes", "Bytes of Parquet written.")
        self.lost = counter(
            "reprise_archiver_lost_records",
            "Records that the log no longer had when they were due to be archived.",
        )
        self.missing = gauge(
            "reprise_archiver_missing_records",
            "Deleted records that are due to be archived; their partitions are paused.",
        )
        self.waiting = gauge(
            "reprise_archiver_waiting_records", "Records read whose segment is not complete yet."
        )
        self.oldest = gauge(
            "reprise_archiver_oldest_record_timestamp_seconds",
            "Append time of the first record that is read and not archived; 0 if there is none.",
        )
        self.write = Histogram(
            "reprise_archiver_write_seconds",
            "Time to write and commit a segment, in seconds.",
            buckets=_WRITE_BUCKETS,
            registry=registry,
        )
        partition = partial(Gauge, labelnames=("topic", "partition"), registry=registry)
        lag = "Records of an assigned partition that are not yet read."
        self.lag = PartitionGauge(partition("reprise_archiver_lag_records", lag))
        unreadable = "Offset at which a partition is paused because its records cannot be decoded."
        self.unreadable = PartitionGauge(partition("reprise_archiver_unreadable_offset", unreadable))

    def begin(self, topic: str) -> None:
        """Start the topic's counters at zero: increase() misses the first count of one that starts later."""
        for outcome in ("archived", "rejected"):
            self.records.labels(topic, outcome)
        for metric in (self.segments, self.written_bytes, self.lost, self.missing):
            metric.labels(topic)
