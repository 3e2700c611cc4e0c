"""Lag is told by whoever holds a partition, and by nobody else."""

from prometheus_client import CollectorRegistry

from reprise.archiver.metrics import ArchiverMetrics
from reprise.materializer.metrics import MaterializerMetrics


def test_materializer_forgets_the_lag_of_a_partition_that_another_holds_now() -> None:
    registry = CollectorRegistry()
    metrics = MaterializerMetrics(registry)
    metrics.lag.show({0: 5, 1: 900})
    metrics.lag.show({0: 7})
    assert lags(registry, "reprise_materializer_lag_records") == {("0",): 7}


def test_archiver_forgets_the_lag_of_a_partition_that_another_holds_now() -> None:
    registry = CollectorRegistry()
    metrics = ArchiverMetrics(registry)
    metrics.lag.show({0: 5, 1: 900}, "events")
    metrics.lag.show({1: 3}, "predictions")
    metrics.lag.show({1: 8}, "events")
    assert lags(registry, "reprise_archiver_lag_records") == {("1", "events"): 8, ("1", "predictions"): 3}


def test_dead_letters_and_losses_are_at_zero_before_the_first() -> None:
    folding, archiving = MaterializerMetrics(CollectorRegistry()), ArchiverMetrics(CollectorRegistry())
    archiving.begin("events")
    name = "reprise_materializer_events_total"
    refused = [
        folding.registry.get_sample_value(name, {"outcome": o})
        for o in ("invalid", "early", "late", "failed")
    ]
    lost = archiving.registry.get_sample_value("reprise_archiver_lost_records_total", {"topic": "events"})
    assert [*refused, lost] == [0] * 5


def lags(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name
    }
