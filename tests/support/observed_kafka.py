"""A Kafka broker that is watched as Strimzi has its brokers watched."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.kafka import KafkaBroker, MissingKafkaError, kafka_jars, running_kafka
from support.redis import free_port

_TEMPLATE = Path(__file__).parents[2] / "charts" / "reprise" / "templates" / "kafka" / "kafka.yaml"
_EXPORTER = Path(__file__).with_name("kafka_lag_exporter.py")
_PACKAGE = "io.strimzi.kafka.metrics"


@dataclass(frozen=True)
class ObservedKafka:
    """A running broker, the port of Strimzi's metrics reporter inside of it, and that of the exporter of the lag."""

    broker: KafkaBroker
    metrics_port: int
    lag_port: int

    @property
    def environment(self) -> dict[str, str]:
        return {"KAFKA_SERVERS": self.broker.servers}

    @property
    def lag_exporter(self) -> list[str]:
        """The command line of the exporter; its own folder is no place to import from, which has a ``kafka`` too."""
        return [sys.executable, "-P", str(_EXPORTER), self.broker.servers, str(self.lag_port)]


def why_no_kafka() -> str:
    """Return what this machine lacks for a broker; nothing where it has all of it."""
    try:
        kafka_jars()
    except MissingKafkaError as error:
        return str(error)
    return ""


def allowed_metrics() -> list[str]:
    """Return which metrics the chart has Strimzi's reporter give."""
    [said] = re.findall(
        r"type: strimziMetricsReporter\s+values:\s+allowList: (\[.*\])", _TEMPLATE.read_text()
    )
    allowed: Any = yaml.safe_load(said)
    return [str(pattern) for pattern in allowed]


@contextmanager
def observed_kafka() -> Iterator[ObservedKafka]:
    """Run a broker with Strimzi's metrics reporter, configured as the operator configures it from the chart."""
    metrics_port = free_port()
    reporting = {
        "metric.reporters": f"{_PACKAGE}.KafkaPrometheusMetricsReporter",
        "kafka.metrics.reporters": f"{_PACKAGE}.YammerPrometheusMetricsReporter",
        "prometheus.metrics.reporter.listener": f"http://127.0.0.1:{metrics_port}",
        "prometheus.metrics.reporter.allowlist": ",".join(allowed_metrics()),
    }
    with running_kafka(reporting) as broker:
        yield ObservedKafka(broker, metrics_port, free_port())
