"""The alerts fire when they should, clear when they should, and lead to what to do."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.metrics_catalogue import own_series
from support.prometheus import needs_prometheus, promtool
from support.promql import THIRD_PARTY, metrics_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
RULES = ROOT / "charts" / "reprise" / "files" / "rules.yaml"
ALERT_TESTS = sorted((ROOT / "tests" / "alerts").glob("*.yaml"))
GROUPS: list[dict[str, Any]] = yaml.load(RULES.read_text(), yaml.CSafeLoader)["groups"]
EVERY = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in EVERY if "alert" in rule}


@pytest.fixture(scope="module")
def cases() -> list[dict[str, Any]]:
    return [case for path in ALERT_TESTS for case in yaml.load(path.read_text(), yaml.CSafeLoader)["tests"]]


@needs_prometheus
def test_rules_are_what_prometheus_reads() -> None:
    assert f"{len(EVERY)} rules found" in promtool(["check", "rules", str(RULES)])


@needs_prometheus
@pytest.mark.parametrize("path", ALERT_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_clear(tmp_path: Path, path: Path) -> None:
    """Only the rules that the file is about are evaluated, because promtool evaluates all of them at each step."""
    asked = set(re.findall(r"\bReprise\w+", path.read_text()))
    for rule in reversed(EVERY):
        if rule.get("alert", rule.get("record")) in asked:
            asked |= metrics_of(rule["expr"])
    groups = [
        group | {"rules": [rule for rule in group["rules"] if rule.get("alert", rule.get("record")) in asked]}
        for group in GROUPS
    ]
    given = yaml.load(path.read_text(), yaml.CSafeLoader)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    (tmp_path / path.name).write_text(yaml.safe_dump(given | {"rule_files": ["rules.yaml"]}))
    promtool(["test", "rules", str(tmp_path / path.name)])


@pytest.mark.parametrize("name", ALERTS)
def test_alert_is_tested_firing_and_then_clear(cases: list[dict[str, Any]], name: str) -> None:
    query = f'count(ALERTS{{alertname="{name}", alertstate="firing"}})'
    seen = [
        [bool(check["exp_samples"]) for check in case["promql_expr_test"] if check["expr"] == query]
        for case in cases
        if case["name"] == name
    ]
    assert seen, f"tests/alerts has no test of {name}"
    assert all(checks == [True, False] for checks in seen)


@pytest.mark.parametrize("name", ALERTS)
def test_alert_says_how_bad_it_is_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^## (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_every_metric_of_the_rules_exists() -> None:
    recorded = {rule["record"] for rule in EVERY if "record" in rule}
    asked = {name for rule in EVERY for name in metrics_of(rule["expr"])}
    assert asked - own_series() - recorded - THIRD_PARTY.keys() == set()


def test_query_is_taken_apart_into_its_metrics() -> None:
    query = 'sum by (le, pod) (rate(a_bucket{x="b_c"}[5m])) / on (pod) group_left (z) (d > 0) or time() - e offset 5m'
    assert metrics_of(query) == {"a_bucket", "d", "e"}
