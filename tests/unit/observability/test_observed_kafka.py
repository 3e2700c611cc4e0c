"""The broker of the observed platform is watched as the chart has Strimzi watch one."""

from support.observed_kafka import allowed_metrics
from support.promql import THIRD_PARTY


def test_every_metric_of_the_reporter_is_one_that_the_chart_allows() -> None:
    allowed = [pattern.removesuffix(".*") for pattern in allowed_metrics()]
    asked = [name for name, source in THIRD_PARTY.items() if source == "Strimzi's metrics reporter"]
    assert asked
    assert all(name.startswith(tuple(allowed)) for name in asked)
