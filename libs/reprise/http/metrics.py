"""Prometheus metrics of one process: its registry, its dependencies, and a histogram for the hot path."""

import platform
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate, repeat

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Observe = Callable[[float], None]
ObserveMany = Callable[[Sequence[float]], None]

OnFailure = Callable[[str, BaseException], None]
"""Called with the name of a dependency and its error."""

_DEPENDENCY_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)


def process_registry(distribution: str) -> CollectorRegistry:
    """Return a registry with the metrics of the process and of a component, such as ``reprise-predictor``."""
    # Counters otherwise have a second series with their creation time.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    build = Gauge(
        "reprise_build_info",
        "Always 1; the labels are component and versions.",
        ("package", "version", "python"),
        registry=registry,
    )
    build.labels(distribution, installed_version(), platform.python_version()).set(1)
    return registry


def installed_version() -> str:
    """Return the installed version of Reprise, or ``unknown`` without an installed distribution."""
    try:
        return version("reprise")
    except PackageNotFoundError:
        return "unknown"


class Dependency:
    """One service that the process depends on, named by its role, such as ``online_store``."""

    def __init__(self, name: str, seconds: Histogram, errors: Counter, on_failure: OnFailure | None) -> None:
        self._name = name
        self._errors = errors
        self._on_failure = on_failure
        self.took = seconds.labels(name).observe
        """Observes the duration of a call, successful or not."""

    def failed(self, error: BaseException) -> None:
        """Count an error by its class."""
        self._errors.labels(self._name, type(error).__name__).inc()
        if self._on_failure is not None:
            self._on_failure(self._name, error)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Observe the duration of the block, and count its error."""
        started = time.perf_counter()
        try:
            yield
        except Exception as error:
            self.failed(error)
            raise
        finally:
            self.took(time.perf_counter() - started)


class DependencyMetrics:
    """The metrics of all dependencies of a process, with the same names in every process."""

    def __init__(self, registry: CollectorRegistry, on_failure: OnFailure | None = None) -> None:
        self._on_failure = on_failure
        self._seconds = Histogram(
            "reprise_dependency_seconds",
            "Duration of a call, or a batch of calls, to a dependency: online_store, event_log, offline_store.",
            ("dependency",),
            buckets=_DEPENDENCY_BOUNDS,
            registry=registry,
        )
        self._errors = Counter(
            "reprise_dependency_errors",
            "Failed calls to a dependency, by class of the error.",
            ("dependency", "kind"),
            registry=registry,
        )

    def of(self, name: str) -> Dependency:
        """Return a dependency, whose durations the registry has from now on."""
        return Dependency(name, self._seconds, self._errors, self._on_failure)


class PartitionGauge:
    """A gauge of partitions, the last of its labels, that has values of the assigned ones only."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._shown: dict[tuple[str, ...], frozenset[str]] = {}

    def show(self, values: Mapping[int, int], *labels: str) -> None:
        """Set the values of the assigned partitions under the other labels, and remove those of all others."""
        assigned = frozenset(map(str, values))
        for partition in self._shown.get(labels, frozenset()) - assigned:
            self._gauge.remove(*labels, partition)
        self._shown[labels] = assigned
        for number, value in values.items():
            self._gauge.labels(*labels, str(number)).set(value)


class LoopHistogram(Collector):
    """A histogram with labels, written and read on one event loop.

    The client library's takes a lock twice for each observation and costs about five times as much. ``bounds`` are
    the inclusive upper bounds of the buckets, ascending, without infinity.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: tuple[str, ...],
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._bounds = list(bounds)
        self._series: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}
        registry.register(self)

    def of(self, *values: str) -> Observe:
        """Return the function that counts an observation under these label values."""
        counts, total = self._one(values)
        bounds = self._bounds

        def observe(amount: float) -> None:
            counts[bisect_left(bounds, amount)] += 1
            total[0] += amount

        return observe

    def many_of(self, *values: str) -> ObserveMany:
        """Return the function that counts many observations under these label values at once."""
        counts, total = self._one(values)
        bounds = self._bounds

        def observe(amounts: Sequence[float]) -> None:
            for bin_ in map(bisect_left, repeat(bounds), amounts):
                counts[bin_] += 1
            total[0] += sum(amounts)

        return observe

    def remove(self, *values: str) -> None:
        """Remove the series of these label values."""
        self._series.pop(values, None)

    def counts(self) -> dict[tuple[str, ...], tuple[int, ...]]:
        """Return the observations in each bucket by label values, not cumulative, the last beyond all bounds."""
        return {values: tuple(counts) for values, (counts, _) in self._series.items()}

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Return the metric for the registry."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=list(self._labels))
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, (counts, total) in self._series.items():
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            family.add_metric(list(values), buckets=buckets, sum_value=total[0])
        return [family]

    def _one(self, values: tuple[str, ...]) -> tuple[list[int], list[float]]:
        return self._series.setdefault(values, ([0] * (len(self._bounds) + 1), [0.0]))
