"""Every panel shows data from the running platform, every rule can be evaluated on it, and faults make alerts fire."""

from collections.abc import Iterator

import pytest

from support.incidents import rounds, run_round, shortened_prometheus
from support.observed_platform import Platform, look, missing_programs, observed_platform

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"),
]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with observed_platform(tmp_path_factory.mktemp("observed")) as running:
        yield running


def test_every_panel_has_data_and_no_rule_fails(platform: Platform) -> None:
    panels, alerts = look(platform)
    ready = platform.prometheus.query("min(reprise_ready)")
    unhealthy = [rule["name"] for rule in platform.prometheus.alerts() if rule["health"] != "ok"]
    platform.check()
    left_out = {f"{seen.page}: {seen.title} {seen.state}" for seen in panels if seen.state}
    print(*sorted(left_out), sep="\n")
    assert [(seen.title, seen.problem) for seen in panels if seen.problem] == []
    assert all(seen.values for seen in panels if not seen.state)
    without_kafka = {f"needs Kafka: {platform.without_kafka}"} if platform.without_kafka else set()
    assert {seen.state for seen in panels} <= {"", "needs Kubernetes"} | without_kafka
    assert unhealthy == []
    assert [seen.title for seen in alerts if seen.state == "firing"] == []
    assert [value for _, value in ready] == [1]


def test_faults_make_their_alerts_fire_and_mending_makes_them_clear(platform: Platform) -> None:
    prometheus = shortened_prometheus(platform)
    outcomes = [outcome for round_ in rounds(platform) for outcome in run_round(platform, prometheus, round_)]
    print(*outcomes, sep="\n")
    assert [outcome.alert for outcome in outcomes if outcome.fired_after is None] == []
    assert [outcome.alert for outcome in outcomes if outcome.cleared_after is None] == []
