"""Lag is told by whoever holds a partition, and by nobody else."""

from prometheus_client import CollectorRegistry

from reprise.archiver.metrics import ArchiverMetrics
from reprise.materializer.metrics import MaterializerMetrics


def test_lag_of_a_partition_that_another_process_holds_now_is_forgotten() -> None:
    folding, archiving = MaterializerMetrics(CollectorRegistry()), ArchiverMetrics(CollectorRegistry())
    folding.lag.show({0: 5, 1: 900})
    folding.lag.show({0: 7})
    archiving.lag.show({0: 5, 1: 900}, "events")
    archiving.lag.show({1: 3}, "predictions")
    archiving.lag.show({1: 8}, "events")
    found = {
        tuple(sample.labels.values()): sample.value
        for registry in (folding.registry, archiving.registry)
        for family in registry.collect()
        for sample in family.samples
        if sample.name.endswith("_lag_records")
    }
    assert found == {("0",): 7, ("events", "1"): 8, ("predictions", "1"): 3}


def test_dead_letters_and_losses_are_at_zero_before_the_first() -> None:
    folding, archiving = MaterializerMetrics(CollectorRegistry()), ArchiverMetrics(CollectorRegistry())
    archiving.begin("events")
    name = "reprise_materializer_events_total"
    outcomes = ("invalid", "early", "late", "failed")
    refused = [folding.registry.get_sample_value(name, {"outcome": each}) for each in outcomes]
    lost = archiving.registry.get_sample_value("reprise_archiver_lost_records_total", {"topic": "events"})
    assert [*refused, lost] == [0] * 5
