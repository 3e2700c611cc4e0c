"""The rules and dashboards reach Prometheus' operator and Grafana's sidecar as they are in the files."""

import json
from typing import Any

import pytest
import yaml

from reprise.status.settings import parse_targets
from support.chart import CHART, NAMESPACE, render

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
    assert len(endpoints) == 7
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


def targets(*options: str) -> dict[str, tuple[str, int]]:
    listed = render(*PLAIN, *options).config("reprise-status")["STATUS_TARGETS"]
    return {target.service: (target.host, target.port) for target in parse_targets(listed)}


def test_status_page_looks_at_every_pod_of_what_is_there_ready_or_not() -> None:
    release = render(*PLAIN, "--set=rollout.enabled=true")
    found = targets("--set=rollout.enabled=true")
    assert set(found) == {"predictor", "producer", "materializer", "archiver", "rollout"}
    for name, (host, port) in found.items():
        service = release.find("Service", host).spec
        assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
        pod = release.find("Deployment", f"reprise-{name}").pod
        assert pod is not None
        assert service["selector"].items() <= pod.metadata.labels.items()
        # A name without an address of its own stands for the pods', so the port is the container's.
        [exposed] = service["ports"]
        [container] = pod.spec.containers
        assert {exposed["targetPort"]: port}.items() <= {
            each["name"]: each["containerPort"] for each in container.ports
        }.items()
        assert exposed["port"] == port


def test_status_page_looks_at_nothing_that_is_not_installed() -> None:
    assert set(targets("--set=archiver.enabled=false")) == {"predictor", "producer", "materializer"}


def test_status_page_knows_runbooks_and_the_pushgateway() -> None:
    config = render(
        *PLAIN,
        "--set=monitoring.pushgateway=http://push:9091,monitoring.rules.documentation=https://example.com/reprise",
    ).config("reprise-status")
    assert config["PUSHGATEWAY_URL"] == "http://push:9091"
    assert config["STATUS_DOCUMENTATION"] == "https://example.com/reprise"
    assert config["STATUS_TITLE"] == NAMESPACE


def test_status_page_asks_prometheus_for_the_alerts_of_its_namespace_if_told_where_it_is() -> None:
    release = render(*PLAIN, "--set=status.prometheus.url=http://prometheus.monitoring:9090")
    config = release.config("reprise-status")
    assert config["STATUS_PROMETHEUS_URL"] == "http://prometheus.monitoring:9090"
    assert config["STATUS_PROMETHEUS_NAMESPACE"] == NAMESPACE
    assert {"ports": [{"port": 9090}]} in release.find("NetworkPolicy", "reprise-status").spec["egress"]
    without = render(*PLAIN)
    assert not [name for name in without.config("reprise-status") if "PROMETHEUS" in name]
    assert {"ports": [{"port": 9090}]} not in without.find("NetworkPolicy", "reprise-status").spec["egress"]


def test_status_page_is_not_reachable_from_outside_unless_asked_for() -> None:
    production = render("-f", "production")
    assert "reprise-status" not in {each.name for each in production.of_kind("Ingress")}
    [rule] = render("-f", "dev").find("Ingress", "reprise-status").spec["rules"]
    assert [(path["path"], path["pathType"]) for path in rule["http"]["paths"]] == [
        ("/status", "Exact"),
        ("/status.json", "Exact"),
    ]


def test_without_the_status_page_nothing_is_left_of_it() -> None:
    release = render("-f", "dev", "--set=status.enabled=false")
    assert not [each.name for each in release.of_kind("Service") if each.name.endswith("-metrics")]
    assert not [each for each in release.of_kind("Deployment") if each.component == "status"]
    rules = [
        peer
        for policy in release.of_kind("NetworkPolicy")
        for rule in policy.spec.get("ingress", [])
        for peer in rule["from"]
    ]
    assert "status" not in str(rules)


def test_neither_is_there_without_monitoring() -> None:
    off = "--set=monitoring.enabled=false"
    labelled = [
        each for each in objects("ConfigMap", off) if "grafana_dashboard" in each["metadata"]["labels"]
    ]
    assert objects("PrometheusRule", off) == labelled == []
