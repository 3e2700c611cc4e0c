"""What a job tells Prometheus: pushed when it ends, because its pod is gone before anybody could ask."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway, pushadd_to_gateway
from pydantic import Field

from reprise.runtime.logs import get_logger
from reprise.runtime.settings import ProcessSettings

_log = get_logger(__name__)
_PUSH_SECONDS = 10.0


class JobSettings(ProcessSettings):
    """Where a job's metrics go."""

    pushgateway_url: str | None = Field(
        default=None,
        validation_alias="PUSHGATEWAY_URL",
        description="Prometheus Pushgateway that keeps the job's metrics, such as http://pushgateway:9091; if absent"
        " they are not kept.",
    )


class JobMetrics:
    """When a job last ran and how that went, in a registry to which the job adds its own figures.

    Metrics that a failed run does not have stay as the last successful run left them.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.failed = Gauge(
            "reprise_job_failed", "1 where the job's last run failed, else 0.", registry=self.registry
        )
        self.ended = Gauge(
            "reprise_job_end_timestamp_seconds", "When the job's last run ended.", registry=self.registry
        )
        self.duration = Gauge(
            "reprise_job_duration_seconds", "How long the job's last run took.", registry=self.registry
        )

    def succeeded(self) -> None:
        """Note that the run reached its end."""
        Gauge(
            "reprise_job_last_success_timestamp_seconds",
            "When the job last ended well.",
            registry=self.registry,
        ).set_to_current_time()


@contextmanager
def reported_job(name: str, pushgateway_url: str | None) -> Iterator[JobMetrics]:
    """Push the metrics of what is done inside, whether it succeeds or raises.

    Those of a run that succeeded replace all that the job pushed before, so that no series of an earlier model stays.

    A Pushgateway that is away is logged and otherwise ignored: what the job was run for is done.

    Args:
        name: The job, such as ``reprise-trainer``; Prometheus's label ``job``.
        pushgateway_url: Where to push; ``None`` to push nothing.
    """
    metrics = JobMetrics()
    started = time.monotonic()
    metrics.failed.set(1)
    push: Callable[..., None] = pushadd_to_gateway
    try:
        yield metrics
        metrics.failed.set(0)
        metrics.succeeded()
        push = push_to_gateway
    finally:
        metrics.ended.set_to_current_time()
        metrics.duration.set(time.monotonic() - started)
        if pushgateway_url is not None:
            _push(push, name, pushgateway_url, metrics.registry)


def _push(push: Callable[..., None], name: str, url: str, registry: CollectorRegistry) -> None:
    try:
        push(url, name, registry, timeout=_PUSH_SECONDS)
    except (OSError, ValueError) as error:
        _log.warning("metrics_not_pushed", job=name, pushgateway=url, reason=str(error))
