"""Stands in for kafka_exporter, which Strimzi deploys: consumers' lag of a real broker, by its names and labels.

``python -P kafka_lag_exporter.py SERVERS PORT`` serves ``kafka_consumergroup_lag{consumergroup, topic, partition}`` on
this machine. The program itself is in no registry that the tests use, so the names are those of its documentation.
"""

import sys
import threading
from collections.abc import Iterable

from kafka import KafkaAdminClient
from kafka.admin import OffsetSpec
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector


class ConsumerLag(Collector):
    """How many records each group has not committed yet, asked of the broker when it is scraped."""

    def __init__(self, servers: str) -> None:
        self._admin = KafkaAdminClient(bootstrap_servers=servers)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return [_family()]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = _family()
        groups = [group["group_id"] for group in self._admin.list_groups()]
        committed = self._admin.list_group_offsets(groups) if groups else {}
        partitions = {partition for offsets in committed.values() for partition in offsets}
        ends = self._admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
        for group, offsets in committed.items():
            for partition, offset in offsets.items():
                labels = [group, partition.topic, str(partition.partition)]
                family.add_metric(labels, max(0, ends[partition].offset - offset.offset))
        return [family]


def _family() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "kafka_consumergroup_lag",
        "Records that a consumer group has not committed yet.",
        labels=["consumergroup", "topic", "partition"],
    )


if __name__ == "__main__":
    registry = CollectorRegistry()
    registry.register(ConsumerLag(sys.argv[1]))
    start_http_server(int(sys.argv[2]), addr="127.0.0.1", registry=registry)
    threading.Event().wait()
