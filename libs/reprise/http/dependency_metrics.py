"""Durations and errors of the services that a process depends on, with the same metrics in every process."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

OnFailure = Callable[[str, BaseException], None]
"""Called with the name of a dependency and its error."""

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)


class Dependency:
    """One service that the process depends on, named by its role, such as ``online_store``."""

    def __init__(
        self, name: str, seconds: Histogram, errors: Counter, on_failure: OnFailure | None = None
    ) -> None:
        self._name = name
        self._seconds = seconds.labels(name)
        self._errors = errors
        self._on_failure = on_failure

    def took(self, seconds: float) -> None:
        """Observe the duration of a call, successful or not."""
        self._seconds.observe(seconds)

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
    """The metrics of all dependencies of a process."""

    def __init__(self, registry: CollectorRegistry, on_failure: OnFailure | None = None) -> None:
        self._on_failure = on_failure
        self._seconds = Histogram(
            "reprise_dependency_seconds",
            "Duration of a call, or a batch of calls, to a dependency: online_store, event_log, offline_store.",
            ("dependency",),
            buckets=_BUCKETS,
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
