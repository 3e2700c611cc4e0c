"""The rules and dashboards reach Prometheus' operator and Grafana's sidecar as they are in the files."""

import json
from typing import Any

import pytest
import yaml
from support.chart import CHART, render

PLAIN = (
    "--set=kafka.mode=external,kafka.external.bootstrapServers=kafka:9092,storage.singleNode=true",
    "--set=monitoring.enabled=true",
)
RULES = yaml.safe_load((CHART / "files" / "rules.yaml").read_text())["groups"]
DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))


def objects(kind: str, *options: str) -> list[dict[str, Any]]:
    return [each.raw for each in render(*PLAIN, *options).of_kind(kind)]


def test_rules_are_those_of_the_file() -> None:
    (rule,) = objects("PrometheusRule")
    assert rule["spec"]["groups"] == RULES


def test_labels_of_our_metrics_win_over_those_that_the_operator_gives_targets() -> None:
    endpoints = [
        endpoint
        for monitor in objects("PodMonitor", "--set=redis.exporter.enabled=true,rollout.enabled=true")
        for endpoint in monitor["spec"]["podMetricsEndpoints"]
    ]
    # "endpoint" is a label of reprise_predictor_request_seconds, which an alert asks for, and of every target
    assert len(endpoints) == 6
    assert all(endpoint["honorLabels"] for endpoint in endpoints)


def test_runbooks_are_where_the_documentation_is() -> None:
    (rule,) = objects("PrometheusRule", "--set=monitoring.rules.documentation=https://example.com/reprise/")
    links = [
        r["annotations"]["runbook_url"] for g in rule["spec"]["groups"] for r in g["rules"] if "alert" in r
    ]
    assert all(link.startswith("https://example.com/reprise/docs/operations.md#") for link in links)


def test_an_alert_that_is_not_wanted_is_left_out() -> None:
    (rule,) = objects("PrometheusRule", "--set=monitoring.rules.disabled={RepriseModelOld}")
    names = {r.get("alert") for g in rule["spec"]["groups"] for r in g["rules"]}
    assert names == {r.get("alert") for g in RULES for r in g["rules"]} - {"RepriseModelOld"}


def test_each_dashboard_is_a_config_map_that_the_sidecar_finds() -> None:
    found = {
        name: json.loads(text)
        for each in objects("ConfigMap")
        if each["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name, text in each["data"].items()
    }
    assert found == {f"reprise-{path.name}": json.loads(path.read_text()) for path in DASHBOARDS}


@pytest.mark.parametrize("job", ["trainer", "backfill", "outcomes"])
def test_jobs_know_the_pushgateway_and_the_way_there(job: str) -> None:
    gateway = "--set=outcomes.enabled=true,monitoring.pushgateway=http://pushgateway.monitoring:9091"
    release = render(*PLAIN, gateway)
    assert release.config(f"reprise-{job}")["PUSHGATEWAY_URL"] == "http://pushgateway.monitoring:9091"
    egress = release.find("NetworkPolicy", f"reprise-{job}").spec["egress"]
    assert {"ports": [{"port": 9091}]} in egress
    without = render(*PLAIN, "--set=outcomes.enabled=true")
    assert "PUSHGATEWAY_URL" not in without.config(f"reprise-{job}")
    assert {"ports": [{"port": 9091}]} not in without.find("NetworkPolicy", f"reprise-{job}").spec["egress"]


def test_neither_is_there_without_monitoring() -> None:
    off = "--set=monitoring.enabled=false"
    labelled = [
        each for each in objects("ConfigMap", off) if "grafana_dashboard" in each["metadata"]["labels"]
    ]
    assert objects("PrometheusRule", off) == labelled == []
