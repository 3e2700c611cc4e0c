"""Which rules and dashboards reach Prometheus' operator and Grafana's sidecar, and what the status page looks at."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from reprise.status.app import REPORT_PAGE, REPORT_TAB
from reprise.status.settings import parse_targets
from support.chart import CHART, NAMESPACE, render
from support.prometheus import needs_prometheus, promtool
from support.promql import metrics_of

PLAIN = (
    "--set=kafka.mode=external,kafka.external.bootstrapServers=kafka:9092,storage.singleNode=true",
    "--set=monitoring.enabled=true",
)
RULES = yaml.load((CHART / "files" / "rules.yaml").read_text(), yaml.CSafeLoader)["groups"]
DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))


def objects(kind: str, *options: str) -> list[dict[str, Any]]:
    return [each.raw for each in render(*PLAIN, *options).of_kind(kind)]


EVERYTHING = (
    "--set=outcomes.enabled=true,rollout.enabled=true,redis.exporter.enabled=true,monitoring.pushgateway=http://push:9091",
    "--set=scoring.enabled=true",
    "--set=predictor.autoscaling.enabled=true,predictor.ingress.enabled=true,predictor.ingress.host=p.example",
    '--set=predictor.ingress.tls.enabled=true,monitoring.rules.redisMatchers=job="redis"',
    '--set=monitoring.rules.pushedMatchers=namespace="pushed"',
)
FULL = (
    *EVERYTHING,
    "--set=kafka.mode=strimzi,materializer.autoscaling.keda.enabled=true",
    "--api-versions=keda.sh/v1alpha1",
)
RELEASE = {'namespace="reprise"', 'app_kubernetes_io_instance="reprise"'}
# whose series others scrape, or push, or name
ELSEWHERE = {
    r"reprise_(job|outcomes)_.*": {'namespace="pushed"'},
    r"reprise:feature_psi:.*": {'app_kubernetes_io_instance="reprise"'},
    r"redis_.*": {'job="redis"'},
    r"kube(let)?_.*": {'namespace="reprise"'},
    r"kafka_.*": {'namespace="reprise"', 'strimzi_io_cluster="reprise-kafka"'},
    r"keda_.*": {'scaledObject="reprise-materializer"'},
    r"strimzi_.*": {'resource_namespace="reprise"', 'cluster="reprise-kafka"'},
    r"certmanager_.*": {'name=~"reprise-predictor-tls"'},
}


def rules(*options: str) -> list[dict[str, Any]]:
    (made,) = objects("PrometheusRule", *options)
    return [rule for group in made["spec"]["groups"] for rule in group["rules"]]


def alerts(*options: str) -> dict[str, str]:
    return {rule["alert"]: rule["expr"] for rule in rules(*options) if "alert" in rule}


def test_rules_about_everything_are_those_of_the_file() -> None:
    expected = [(r.get("alert"), r.get("record"), r.get("for")) for g in RULES for r in g["rules"]]
    assert [(r.get("alert"), r.get("record"), r.get("for")) for r in rules(*FULL)] == expected


@pytest.mark.parametrize("options", [EVERYTHING, FULL])
def test_every_series_of_a_rule_is_one_of_the_release(options: tuple[str, ...]) -> None:
    for rule in rules(*options):
        assert rule["labels"]["app_kubernetes_io_instance"] == "reprise"
        for name in metrics_of(rule["expr"]):
            wanted = next((found for text, found in ELSEWHERE.items() if re.fullmatch(text, name)), RELEASE)
            for matchers in re.findall(rf"\b{name}\b(?:\{{([^}}]*)\}})?", rule["expr"]):
                assert wanted <= set(matchers.split(",")), (rule, name)
    for monitor in objects("PodMonitor", *options):
        if monitor["metadata"]["name"] != "reprise-kafka":
            assert "app.kubernetes.io/instance" in monitor["spec"]["podTargetLabels"]


@needs_prometheus
def test_an_alert_fires_for_the_release_and_for_no_other(tmp_path: Path) -> None:
    (made,) = objects("PrometheusRule", "--set=redis.exporter.enabled=true")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(made["spec"]))
    own = 'namespace="reprise", app_kubernetes_io_instance="reprise"'
    others = ('namespace="reprise", app_kubernetes_io_instance="shop"', 'namespace="shop"')

    def firing(labels: str, count: int) -> dict[str, Any]:
        samples = [{"labels": "{}", "value": count}] if count else []
        expr = 'count(ALERTS{alertname="RepriseRedisDown", alertstate="firing"})'
        return {
            "interval": "1m",
            "input_series": [{"series": f"redis_up{{{labels}}}", "values": "0x10"}],
            "promql_expr_test": [{"expr": expr, "eval_time": "8m", "exp_samples": samples}],
        }

    cases = {"rule_files": ["rules.yaml"], "tests": [firing(own, 1), *(firing(each, 0) for each in others)]}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(cases))
    promtool(["test", "rules", str(tmp_path / "tests.yaml")])


def test_a_suspended_job_is_still_missed() -> None:
    suspended = rules(*EVERYTHING, "--set=trainer.suspend=true,compaction.suspend=true,scoring.suspend=true")
    assert suspended == rules(*EVERYTHING)


@pytest.mark.parametrize(
    ("option", "gone"),
    [
        ("archiver.enabled=false", "reprise[-_]archiver"),
        ("materializer.enabled=false", "reprise[-_]materializer|reprise:(lag|freshness)"),
        ("rollout.enabled=false", "reprise_rollout"),
        ("outcomes.enabled=false", "reprise_outcomes|reprise:feature_psi"),
        ("trainer.enabled=false", "-trainer"),
        ("compaction.enabled=false", "-compaction"),
        ("scoring.enabled=false", "-scoring"),
        ("predictor.autoscaling.enabled=false", "horizontalpodautoscaler"),
        ("predictor.ingress.tls.enabled=false", "certmanager"),
        ("redis.existingSecret=mine", "kube_secret"),
        ("redis.exporter.enabled=false,monitoring.rules.redisMatchers=", "redis_"),
        ("monitoring.rules.redisMatchers=", "redis_master_link_up"),
        ("monitoring.pushgateway=", "reprise_job|reprise_outcomes|reprise:feature_psi"),
    ],
)
def test_what_is_off_has_no_rules_and_the_rest_keeps_its_own(option: str, gone: str) -> None:
    before, after = (
        {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules(*EVERYTHING, *more)}
        for more in ((), (f"--set={option}",))
    )
    assert not any(re.search(gone, query) for query in after.values())
    about_it = {name for name, query in before.items() if re.search(gone, query)}
    assert about_it
    # some rules are about more than this part
    shared = {"RepriseServiceMissing"}
    if option == "monitoring.pushgateway=":
        shared |= {"RepriseTrainerMissed", "RepriseCompactionMissed"}
    assert before.keys() - after.keys() == about_it - shared


@pytest.mark.parametrize(
    ("option", "gone"),
    [
        ("kafka.mode=external", {"RepriseKafkaUnderReplicated", "RepriseKafkaOffline"}),
        ("materializer.autoscaling.keda.enabled=false", {"RepriseScalerFails"}),
    ],
)
def test_kafka_and_keda_have_alerts_if_they_are_there(option: str, gone: set[str]) -> None:
    assert alerts(*FULL).keys() - alerts(*FULL, f"--set={option}").keys() == gone


def test_volumes_that_fill_are_those_of_the_release() -> None:
    query = alerts(*FULL, "--set=storage.models.volume.existingClaim=mine")["RepriseVolumeFull"]
    claims = 'persistentvolumeclaim=~"mine|reprise-offline|data-reprise-redis-0|data-[0-9]+-reprise-kafka-.*"'
    assert query.count(claims) == 2
    stored = "storage.models.url=s3://b/m,storage.offline.url=s3://b/o,storage.s3.workloadIdentity=true"
    assert "RepriseVolumeFull" not in alerts(f"--set={stored},redis.persistence.enabled=false")


def test_ages_of_alerts_follow_schedules_in_the_values() -> None:
    found = alerts(
        *EVERYTHING,
        "--set=monitoring.rules.trainerMissedHours=200,monitoring.rules.outcomesMissedHours=3",
        "--set=monitoring.rules.modelOldDays=30,monitoring.rules.compactionMissedHours=50",
        "--set=monitoring.rules.scoringMissedHours=180",
    )
    assert found["RepriseTrainerMissed"].endswith("> 200 * 3600")
    assert found["RepriseOutcomesMissed"].endswith("> 3 * 3600")
    assert found["RepriseModelOld"].endswith("> 30 * 86400")
    assert found["RepriseCompactionMissed"].endswith("> 50 * 3600")
    assert found["RepriseScoringMissed"].endswith("> 180 * 3600")
    assert "reprise_job" not in found["RepriseScoringMissed"]


def test_only_secrets_of_the_chart_grow_old() -> None:
    assert 'secret=~"reprise-(redis)"' in alerts()["RepriseSecretOld"]
    options = "--set=kafka.mode=strimzi,redis.existingSecret=mine,producer.enabled=false"
    query = alerts(options)["RepriseSecretOld"]
    assert 'secret=~"reprise-(archiver|backfill|doctor|materializer|predictor)"' in query


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
    documented = "--set=monitoring.rules.documentation=https://example.com/reprise/"
    page = "https://example.com/reprise/docs/operations.md#"
    links = [each["annotations"]["runbook_url"] for each in rules(documented) if "alert" in each]
    assert all(link.startswith(page) for link in links)


def test_an_alert_that_is_not_wanted_is_left_out() -> None:
    disabled = "--set=monitoring.rules.disabled={RepriseModelOld}"
    assert alerts().keys() - alerts(disabled).keys() == {"RepriseModelOld"}


def test_each_dashboard_is_a_config_map_that_the_sidecar_finds() -> None:
    found = {
        name: json.loads(text)
        for each in objects("ConfigMap")
        if each["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name, text in each["data"].items()
    }
    assert found == {f"reprise-{path.name}": json.loads(path.read_text()) for path in DASHBOARDS}


@pytest.mark.parametrize("job", ["trainer", "backfill", "outcomes", "compaction", "scoring"])
def test_jobs_know_the_pushgateway_and_the_way_there(job: str) -> None:
    jobs = (*PLAIN, "--set=outcomes.enabled=true,scoring.enabled=true")
    release = render(*jobs, "--set=monitoring.pushgateway=http://pushgateway.monitoring:9091")
    config = release.config_of(job)
    assert config["PUSHGATEWAY_URL"] == "http://pushgateway.monitoring:9091"
    grouping = json.loads(config["PUSHGATEWAY_GROUPING"])
    assert grouping == {"namespace": "reprise", "app_kubernetes_io_instance": "reprise"}
    assert {"ports": [{"port": 9091}]} in release.egress(job)
    without = render(*jobs)
    assert "PUSHGATEWAY_URL" not in without.config_of(job)
    assert {"ports": [{"port": 9091}]} not in without.egress(job)


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
        pod = release.pod(name)
        assert service["selector"].items() <= pod.metadata.labels.items()
        # A name without an address of its own stands for the pods', so the port is the container's.
        [exposed] = service["ports"]
        [container] = pod.spec.containers
        ports = {each["name"]: each["containerPort"] for each in container.ports}
        assert ports[exposed["targetPort"]] == port
        assert exposed["port"] == port


def test_status_page_looks_at_nothing_that_is_not_installed() -> None:
    assert set(targets("--set=archiver.enabled=false")) == {"predictor", "producer", "materializer"}


def test_status_page_knows_runbooks_and_the_pushgateway() -> None:
    documented = "--set=monitoring.rules.documentation=https://example.com/reprise"
    config = render(*PLAIN, documented, "--set=monitoring.pushgateway=http://push:9091").config_of("status")
    assert config["PUSHGATEWAY_URL"] == "http://push:9091"
    assert config["STATUS_DOCUMENTATION"] == "https://example.com/reprise"
    assert config["STATUS_TITLE"] == NAMESPACE


def test_status_page_asks_prometheus_for_the_alerts_of_its_namespace_if_told_where_it_is() -> None:
    release = render(*PLAIN, "--set=status.prometheus.url=http://prometheus.monitoring:9090")
    config = release.config("reprise-status")
    assert config["STATUS_PROMETHEUS_URL"] == "http://prometheus.monitoring:9090"
    assert config["STATUS_PROMETHEUS_NAMESPACE"] == NAMESPACE
    assert {"ports": [{"port": 9090}]} in release.egress("status")
    without = render(*PLAIN)
    assert not [name for name in without.config("reprise-status") if "PROMETHEUS" in name]
    assert {"ports": [{"port": 9090}]} not in without.egress("status")


@pytest.mark.parametrize("url", ["", "http://prometheus:9090"])
def test_prometheus_reaches_the_predictors_if_the_operator_asks_it(url: str) -> None:
    release = render("--set=rollout.enabled=true", f"--set=rollout.prometheus.url={url}")
    rule = {"from": [{"namespaceSelector": {}}], "ports": [{"port": "metrics"}]}
    assert (rule in release.find("NetworkPolicy", "reprise-predictor").spec["ingress"]) == bool(url)
    assert rule not in (release.find("NetworkPolicy", "reprise-producer").spec["ingress"] or [])


def test_status_page_is_not_reachable_from_outside_unless_asked_for() -> None:
    production = render("-f", "production")
    assert "reprise-status" not in {each.name for each in production.of_kind("Ingress")}
    [rule] = render("-f", "dev").find("Ingress", "reprise-status").spec["rules"]
    assert [(path["path"], path["pathType"]) for path in rule["http"]["paths"]] == [
        ("/status", "Exact"),
        ("/status.json", "Exact"),
        (REPORT_TAB, "Exact"),
        (REPORT_PAGE, "Exact"),
    ]


def report_access(*options: str) -> dict[str, bool]:
    """Return what the status page has for the nightly report."""
    release = render("-f", "production", *options)
    pod = release.pod("status")
    [container] = pod.spec.containers
    return {
        "setting": "STATUS_SCORES" in release.config("reprise-status"),
        "credentials": "AWS_ACCESS_KEY_ID" in {variable.name for variable in container.env},
        "way": {"ports": [{"port": 443}]} in release.egress("status"),
        "volume": "offline" in {volume["name"] for volume in pod.spec.volumes},
    }


def test_status_page_reads_the_report_of_scoring_with_credentials_of_its_own_and_only_then() -> None:
    report = {"setting": True, "credentials": True, "way": True, "volume": False}
    nothing = dict.fromkeys(report, False)
    assert report_access() == nothing
    assert report_access("--set=scoring.enabled=true") == nothing
    assert report_access("--set=status.report.enabled=true") == nothing
    assert report_access("--set=scoring.enabled=true,status.report.enabled=true") == report
    own = "--set=storage.s3.existingSecrets.status=scores-read"
    release = render("-f", "production", "--set=scoring.enabled=true,status.report.enabled=true", own)
    assert "scores-read" in str(release.pod("status").spec.containers[0].env)
    config = release.config("reprise-status")
    assert config["STATUS_SCORES"] == release.config("reprise-scoring")["SCORING_OUT"]
    assert config["AWS_DEFAULT_REGION"] == "eu-central-1"
    job = "kubectl -n reprise create job --from=cronjob/reprise-scoring score-now"
    assert config["STATUS_REPORT_COMMAND"] == job
    assert release.find("CronJob", "reprise-scoring").metadata.namespace == NAMESPACE


def test_status_page_mounts_the_volume_of_the_report_and_cannot_write_to_it() -> None:
    def mounts(*options: str) -> list[tuple[str, str, bool]]:
        [container] = render("-f", "dev", *options).pod("status").spec.containers
        return [(m.name, m.mount_path, m.read_only) for m in container.volume_mounts if m.name != "tmp"]

    assert mounts() == [("offline", "/var/lib/reprise/offline", True)]
    assert mounts("--set=scoring.enabled=false") == []
    assert mounts("--set=scoring.out=s3://b/scores,storage.s3.existingSecret=s3") == []


def test_without_the_status_page_nothing_is_left_of_it() -> None:
    release = render("-f", "dev", "--set=status.enabled=false")
    assert not [each.name for each in release.of_kind("Service") if each.name.endswith("-metrics")]
    assert not [each for each in release.of_kind("Deployment") if each.component == "status"]
    assert "status" not in str([policy.spec.get("ingress") for policy in release.of_kind("NetworkPolicy")])


def test_neither_is_there_without_monitoring() -> None:
    off = "--set=monitoring.enabled=false"
    assert objects("PrometheusRule", off) == []
    assert "grafana_dashboard" not in str(objects("ConfigMap", off))
