"""Every metric of every service and job, from the registries that they really expose or push."""

import asyncio
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from reprise.archiver import runner as archiver
from reprise.archiver.metrics import ArchiverMetrics
from reprise.backfill.runner import JOB as BACKFILL
from reprise.backfill.runner import BackfillMetrics
from reprise.http.app import create_http_app
from reprise.http.metrics import process_registry
from reprise.http.tracing.factory import Tracing, open_tracing
from reprise.materializer import runner as materializer
from reprise.materializer.metrics import MaterializerMetrics
from reprise.outcomes.metrics import JOB as OUTCOMES
from reprise.outcomes.metrics import OutcomesMetrics
from reprise.predictor.app import create_app as create_predictor
from reprise.predictor.context import DISTRIBUTION as PREDICTOR
from reprise.predictor.context import build_context
from reprise.predictor.settings import PredictorSettings
from reprise.producer.app import create_app as create_producer
from reprise.producer.metrics import ProducerMetrics
from reprise.producer.runner import DISTRIBUTION as PRODUCER
from reprise.producer.settings import ProducerSettings
from reprise.rollout.metrics import RolloutMetrics
from reprise.runtime.job_metrics import JobMetrics
from reprise.scoring.demand.metrics import JOB as DEMAND
from reprise.scoring.demand.metrics import DemandMetrics
from reprise.scoring.metrics import JOB as SCORING
from reprise.scoring.metrics import ScoringMetrics
from reprise.scoring.retention.metrics import JOB as RETENTION
from reprise.scoring.retention.metrics import RetentionMetrics
from reprise.status.app import DISTRIBUTION as STATUS
from reprise.status.app import StatusMetrics
from reprise.trainer.metrics import JOB as TRAINER
from reprise.trainer.metrics import TrainerMetrics
from support.fake_log import FakeLogProducer
from support.fake_reader import FakeReader

OF_THE_PROCESS = ("process_", "python_")
"""How the names begin of what Prometheus's client measures of any process."""


@dataclass(frozen=True)
class Described:
    """One metric under the name that queries use: a counter's with ``_total``, a histogram's without suffixes."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def unit(self) -> str:
        """The unit, which Prometheus's conventions put into the name."""
        base = self.name.removesuffix("_total")
        unit = next((unit for suffix, unit in _UNITS.items() if base.endswith(f"_{suffix}")), None)
        return unit or ("count" if self.kind == "counter" else "")

    @property
    def series(self) -> frozenset[str]:
        if self.kind == "histogram":
            return frozenset(f"{self.name}{suffix}" for suffix in ("_bucket", "_count", "_sum"))
        if self.kind == "summary":
            return frozenset((self.name, f"{self.name}_count", f"{self.name}_sum"))
        return frozenset((self.name,))


_COUNTED = ("bytes", "records", "rows", "events", "users", "predictions", "segments")
_UNITS = {
    **{"timestamp_seconds": "s since 1970", "per_second": "1/s", "seconds": "s", "info": "always 1"},
    **{name: name for name in _COUNTED},
    **dict.fromkeys(("ready", "up", "failed"), "0 or 1"),
}


OPERATOR = "reprise-rollout"
SERVICES = (PREDICTOR, PRODUCER, materializer.DISTRIBUTION, archiver.DISTRIBUTION)
JOBS = (TRAINER, BACKFILL, OUTCOMES, SCORING, DEMAND, RETENTION)


@cache
def registries() -> dict[str, CollectorRegistry]:
    """Return what each component exposes, by the name of its package."""
    return {
        PREDICTOR: _predictor(),
        PRODUCER: _producer(),
        materializer.DISTRIBUTION: _served(MaterializerMetrics, materializer.DISTRIBUTION),
        archiver.DISTRIBUTION: _served(ArchiverMetrics, archiver.DISTRIBUTION),
        OPERATOR: RolloutMetrics(CollectorRegistry()).registry,
        STATUS: StatusMetrics(process_registry(STATUS)).registry,
        TRAINER: _job(TrainerMetrics),
        BACKFILL: _job(BackfillMetrics),
        OUTCOMES: _job(OutcomesMetrics),
        SCORING: _job(ScoringMetrics),
        DEMAND: _job(DemandMetrics),
        RETENTION: _job(RetentionMetrics),
    }


@cache
def own_series() -> frozenset[str]:
    """Return the names of all series of all components."""
    return frozenset().union(*(m.series for registry in registries().values() for m in described(registry)))


def described(registry: CollectorRegistry) -> list[Described]:
    """Return what a registry holds, in the order of the names."""
    collectors: Iterable[Any] = registry._collector_to_names
    found = [
        Described(
            f"{family.name}_total" if family.type == "counter" else family.name,
            family.type,
            tuple(_labels(collector, family)),
            family.documentation,
        )
        for collector in collectors
        for family in _families(collector)
    ]
    return sorted(set(found), key=lambda metric: metric.name)


def _families(collector: Any) -> Iterable[Metric]:
    return collector.describe() if hasattr(collector, "_labelnames") else collector.collect()


def _labels(collector: Any, family: Any) -> Iterable[str]:
    if hasattr(collector, "_labelnames"):
        return collector._labelnames
    return getattr(family, "_labelnames", None) or sorted(
        {k for s in family.samples for k in s.labels if k != "le"}
    )


def _predictor() -> CollectorRegistry:
    with tempfile.TemporaryDirectory() as folder:
        places = {"model_store": folder, "log_dir": Path(folder)}
        settings = PredictorSettings.load(prediction_log=True, api_key_hashes="a" * 64, traces=True, **places)
        context = build_context(settings, store=FakeReader())
        create_predictor(context).build_middleware_stack()
    _end(context.tracing)
    return context.registry


def _producer() -> CollectorRegistry:
    log = FakeLogProducer()
    settings, registry = ProducerSettings.load(traces=True), process_registry(PRODUCER)
    tracing = open_tracing(settings, PRODUCER, registry)
    metrics = ProducerMetrics(registry, log.buffered, tracing)
    create_producer(settings, log, metrics)
    _end(tracing)
    return registry


def _end(tracing: Tracing | None) -> None:
    assert tracing is not None
    asyncio.run(tracing.close())


def _served(own: Callable[[CollectorRegistry], object], distribution: str) -> CollectorRegistry:
    registry = process_registry(distribution)
    own(registry)
    create_http_app(title="test", description="test", registry=registry, readiness=list)
    return registry


def _job(own: Callable[[CollectorRegistry], object]) -> CollectorRegistry:
    metrics = JobMetrics()
    metrics.succeeded()
    own(metrics.registry)
    return metrics.registry
