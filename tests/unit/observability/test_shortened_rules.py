"""Rules whose durations are shortened are otherwise the same rules."""

import re
from pathlib import Path

import pytest
import yaml

from support.prometheus import needs_prometheus, promtool
from support.shortened_rules import milliseconds, shortened_query, shortened_rules, with_shorter_ages

RULES = (Path(__file__).parents[3] / "charts" / "reprise" / "files" / "rules.yaml").read_text()
_WINDOW = re.compile(r"\[(\w+)\]")
_OFFSET = re.compile(r"offset \w+")


def test_windows_are_shorter_by_the_factor_but_no_shorter_than_the_least() -> None:
    windows = [milliseconds(each) for each in _WINDOW.findall(RULES)]
    shorter = [milliseconds(each) for each in _WINDOW.findall(shortened_rules(RULES, 60, 12))]
    assert shorter == [max(12_000, window // 60) for window in windows]
    assert {12_000, 60_000} <= set(shorter)


def test_waits_are_shorter_by_the_factor() -> None:
    def waits(text: str) -> list[int]:
        rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
        return [milliseconds(rule["for"]) for rule in rules if "for" in rule]

    assert [60 * wait for wait in waits(shortened_rules(RULES, 60, 12))] == waits(RULES) != []


def test_nothing_else_changes() -> None:
    def without_durations(text: str) -> object:
        groups = yaml.safe_load(text)["groups"]
        for rule in (rule for group in groups for rule in group["rules"]):
            rule.pop("for", None)
            rule["expr"] = _OFFSET.sub("", _WINDOW.sub("[]", rule["expr"]))
        return groups

    assert without_durations(shortened_rules(RULES, 60, 5)) == without_durations(RULES)


def test_ages_in_thresholds_are_shorter_where_that_is_asked_for() -> None:
    shorter = with_shorter_ages("a > 36 * 3600 or b - time() < 14 * 86400 or c > 14.4 * 0.001", 3600)
    assert shorter == "a > 36 or b - time() < 336 or c > 14.4 * 0.001"
    assert with_shorter_ages(RULES, 1).count("86400") == 0
    assert "180 * 86400" in RULES


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("rate(a[5m])", "rate(a[5000ms])"),
        ("rate(a[1m])", "rate(a[2000ms])"),
        ("max_over_time(rate(a[5m])[1h:1m])", "max_over_time(rate(a[5000ms])[60000ms:1000ms])"),
        ("max_over_time(a[1h30m:])", "max_over_time(a[90000ms:])"),
        ("a - a offset 1d", "a - a offset 1440000ms"),
        ("a - a offset -2m", "a - a offset -2000ms"),
        ("rate(a{path=~\"[5m]\", by=~'[1h]'}[10m])", "rate(a{path=~\"[5m]\", by=~'[1h]'}[10000ms])"),
        ("time() - a > 36 * 3600", "time() - a > 36 * 3600"),
    ],
)
def test_query_keeps_its_meaning(query: str, expected: str) -> None:
    assert shortened_query(query, 60, 2) == expected


@needs_prometheus
def test_prometheus_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(shortened_rules(RULES, 60, 5))
    promtool(["check", "rules", str(path)])
