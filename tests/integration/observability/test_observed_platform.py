"""Every panel shows data from the running platform, and every rule can be evaluated on it."""

import pytest

from support.observed_platform import Platform, look

pytestmark = [pytest.mark.slow, pytest.mark.soak]


def test_every_panel_has_data_and_no_rule_fails(observed: Platform) -> None:
    panels, alerts = look(observed)
    ready = observed.prometheus.query("min(reprise_ready)")
    unhealthy = [rule["name"] for rule in observed.prometheus.alerts() if rule["health"] != "ok"]
    observed.check()
    left_out = {f"{seen.page}: {seen.title} {seen.state}" for seen in panels if seen.state}
    print(*sorted(left_out), sep="\n")
    assert [(seen.title, seen.problem) for seen in panels if seen.problem] == []
    assert all(seen.values for seen in panels if not seen.state)
    without_kafka = {f"needs Kafka: {observed.without_kafka}"} if observed.without_kafka else set()
    assert {seen.state for seen in panels} <= {"", "needs Kubernetes"} | without_kafka
    assert unhealthy == []
    assert [seen.title for seen in alerts if seen.state == "firing"] == []
    assert [value for _, value in ready] == [1]
