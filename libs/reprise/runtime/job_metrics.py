"""Metrics of a job, pushed at its end: its pod ends before Prometheus could scrape it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway, pushadd_to_gateway
from pydantic import Field

from reprise.runtime.logs import get_logger
from reprise.runtime.settings import ProcessSettings

_log = get_logger(__name__)
_PUSH_SECONDS = 10.0


class JobSettings(ProcessSettings):
    """Address of the Pushgateway."""

    pushgateway_url: str | None = Field(
        default=None,
        validation_alias="PUSHGATEWAY_URL",
        description="Prometheus Pushgateway for the job's metrics, such as http://pushgateway:9091; not pushed if"
        " absent.",
    )
    pushgateway_grouping: dict[str, str] = Field(
        default={},
        validation_alias="PUSHGATEWAY_GROUPING",
        description="Labels of the job's group in the Pushgateway besides its name, as JSON, such as"
        ' {"namespace": "shop"}, so that installations can share one.',
    )


class JobMetrics:
    """Time, duration and success of a job's last run, in a registry to which the job adds its own metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._gauge = partial(Gauge, registry=self.registry)
        self.failed = self._gauge("reprise_job_failed", "1 if the job's last run failed, else 0.")
        self.ended = self._gauge("reprise_job_end_timestamp_seconds", "Time when the job's last run ended.")
        self.duration = self._gauge("reprise_job_duration_seconds", "Duration of the job's last run.")

    def succeeded(self) -> None:
        """Add the time of the last success, which a failed run does not push."""
        name = "reprise_job_last_success_timestamp_seconds"
        self._gauge(name, "Time when the job last succeeded.").set_to_current_time()


@contextmanager
def reported_job(name: str, settings: JobSettings) -> Iterator[JobMetrics]:
    """Push the metrics of the block as the job ``name``, whether it succeeds or raises.

    A successful run replaces all metrics of the job, so no series of an earlier model stays. A failed run keeps those
    that it does not have. An unavailable Pushgateway is only logged, because the job's work is done.
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
        url = settings.pushgateway_url
        if url is not None:
            try:
                push(url, name, metrics.registry, settings.pushgateway_grouping, timeout=_PUSH_SECONDS)
            except (OSError, ValueError) as error:
                _log.warning("metrics_not_pushed", job=name, pushgateway=url, reason=str(error))
