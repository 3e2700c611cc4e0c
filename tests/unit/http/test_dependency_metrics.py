"""How dependencies are measured."""

import pytest
from prometheus_client import CollectorRegistry

from reprise.http.dependency_metrics import DependencyMetrics


def test_durations_of_successes_and_failures_are_counted_by_dependency() -> None:
    registry = CollectorRegistry()
    store = DependencyMetrics(registry).of("online_store")
    with store.timed():
        pass
    with pytest.raises(OSError, match="away"), store.timed():
        raise ConnectionResetError("away")
    assert value(registry, "reprise_dependency_seconds_count", dependency="online_store") == 2
    failures = {"dependency": "online_store", "kind": "ConnectionResetError"}
    assert value(registry, "reprise_dependency_errors_total", **failures) == 1


def test_dependency_that_was_never_asked_shows_at_zero() -> None:
    registry = CollectorRegistry()
    DependencyMetrics(registry).of("event_log")
    assert value(registry, "reprise_dependency_seconds_count", dependency="event_log") == 0


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)
