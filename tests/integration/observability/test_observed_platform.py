"""Every panel shows data from the running platform, and every rule can be evaluated on it."""

from pathlib import Path

import pytest
from support.observed_platform import look, missing_programs, observed_platform

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"),
]


def test_every_panel_has_data_and_no_rule_fails(tmp_path: Path) -> None:
    with observed_platform(tmp_path) as prometheus:
        panels, alerts = look(prometheus)
        ready = prometheus.query("min(reprise_ready)")
        unhealthy = [rule["name"] for rule in prometheus.alerts() if rule["health"] != "ok"]
    left_out = {f"{seen.page}: {seen.title} {seen.state}" for seen in panels if seen.state}
    print(*sorted(left_out), sep="\n")
    assert [(seen.title, seen.problem) for seen in panels if seen.problem] == []
    assert all(seen.values for seen in panels if not seen.state)
    assert {seen.state for seen in panels} <= {"", "needs kubernetes", "needs kafka"}
    assert unhealthy == []
    assert [seen.title for seen in alerts if seen.state == "firing"] == []
    assert [value for _, value in ready] == [1]
