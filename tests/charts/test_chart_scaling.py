import json
from contextlib import nullcontext
from typing import Any

import pytest

from support.chart import Release, RenderingError, render
from support.chart_api_server import render_on

KEDA = "--api-versions=keda.sh/v1alpha1"
SCALED = "--set=materializer.autoscaling.keda.enabled=true,materializer.autoscaling.keda.maxReplicas=50"


def test_the_number_of_predictors_is_the_autoscalers_where_there_is_one() -> None:
    release = render("-f", "production")
    [scaler] = release.of_kind("HorizontalPodAutoscaler")
    assert scaler.spec["scaleTargetRef"]["name"] == "reprise-predictor"
    assert "replicas" not in release.find("Deployment", "reprise-predictor").spec


def test_requests_a_second_count_beside_cpu_where_asked_for() -> None:
    release = render("-f", "production", "--set=predictor.autoscaling.requestsPerSecond.enabled=true")
    [scaler] = release.of_kind("HorizontalPodAutoscaler")
    assert [metric["type"] for metric in scaler.spec["metrics"]] == ["Resource", "Pods"]


def test_keda_scales_on_the_lag_of_the_materializers_own_group_and_never_past_the_partitions() -> None:
    release = render("-f", "dev", SCALED, "--set=materializer.group=folding", KEDA)
    [scaled] = release.of_kind("ScaledObject")
    [trigger] = scaled.spec["triggers"]
    assert trigger["metadata"]["consumerGroup"] == "folding"
    assert trigger["metadata"]["topic"] == "ecommerce-events"
    assert scaled.spec["maxReplicaCount"] == 6
    assert "replicas" not in release.find("Deployment", "reprise-materializer").spec
    assert release.config("reprise-materializer")["MATERIALIZER_GROUP"] == "folding"


def test_keda_reaches_strimzis_brokers_from_its_own_namespace() -> None:
    release = render("-f", "dev", SCALED, KEDA)
    [scaled] = release.of_kind("ScaledObject")
    [trigger] = scaled.spec["triggers"]
    servers = "reprise-kafka-kafka-bootstrap.reprise.svc:9093"
    assert trigger["metadata"]["bootstrapServers"] == servers
    assert release.config("reprise-materializer")["KAFKA_SERVERS"] == servers
    peer = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}},
        "podSelector": {"matchLabels": {"app": "keda-operator"}},
    }
    assert peer in _kafka_peers(release)
    assert peer not in _kafka_peers(render("-f", "dev", KEDA))


def _kafka_peers(release: Release) -> list[dict[str, Any]]:
    [clients] = release.find("Kafka", "reprise-kafka").spec["kafka"]["listeners"]
    return list(clients["networkPolicyPeers"])


def test_a_lag_that_cannot_be_read_leaves_the_replicas_that_there_are_without_keda() -> None:
    release = render("-f", "dev", SCALED, KEDA, "--set=materializer.replicas=4")
    [scaled] = release.of_kind("ScaledObject")
    assert scaled.spec["fallback"] == {"failureThreshold": 3, "replicas": 4}


def test_pods_are_removed_slowly_and_as_the_values_say() -> None:
    policy = {"type": "Pods", "value": 1, "periodSeconds": 60}
    policies = f".behavior.scaleDown.policies=[{json.dumps(policy)}]"
    expected = {"stabilizationWindowSeconds": 300, "policies": [policy]}
    keda = f"--set-json=materializer.autoscaling.keda{policies}"
    [scaled] = render("-f", "dev", SCALED, KEDA, keda).of_kind("ScaledObject")
    assert scaled.spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == {"scaleDown": expected}
    predictor = f"--set-json=predictor.autoscaling{policies}"
    [scaler] = render("-f", "production", predictor).of_kind("HorizontalPodAutoscaler")
    assert scaler.spec["behavior"]["scaleDown"] == expected
    assert len(scaler.spec["behavior"]["scaleUp"]["policies"]) == 2


@pytest.mark.parametrize("more", [(), ("--set=materializer.autoscaling.keda.enabled=false", KEDA)])
def test_without_keda_there_are_replicas(more: tuple[str, ...]) -> None:
    release = render("-f", "dev", SCALED, "--set=materializer.replicas=4", *more)
    assert release.of_kind("ScaledObject") == []
    assert release.find("Deployment", "reprise-materializer").spec["replicas"] == 4


def served(version: str, kind: str, name: str, **spec: object) -> dict[str, Any]:
    """Return an object as the API server has it."""
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize("running", [0, 5])
@pytest.mark.parametrize("autoscaled", [False, True])
def test_upgrades_to_and_with_an_autoscaler_keep_the_pods_that_there_are(
    running: int, autoscaled: bool
) -> None:
    options = ("-f", "dev", SCALED, KEDA, "--set=predictor.autoscaling.enabled=true")
    names = ("reprise-materializer", "reprise-predictor")
    live = [served("apps/v1", "Deployment", name, replicas=running) for name in names]
    if autoscaled:
        live.append(served("keda.sh/v1alpha1", "ScaledObject", names[0]))
        live.append(served("autoscaling/v2", "HorizontalPodAutoscaler", names[1]))
    upgraded, installed = render_on(live, *options), render_on([], *options)
    for name in names:
        assert upgraded.find("Deployment", name).spec["replicas"] == running
        assert "replicas" not in installed.find("Deployment", name).spec


def test_keda_signs_in_to_kafka_as_the_materializer() -> None:
    release = render("-f", "dev", SCALED, KEDA)
    [authentication] = release.of_kind("TriggerAuthentication")
    sources = {
        entry["parameter"]: (entry["name"], entry["key"]) for entry in authentication.spec["secretTargetRef"]
    }
    words = release.find("Secret", "reprise-materializer-keda").raw["stringData"]
    assert words == {"sasl": "scram_sha512", "tls": "enable", "username": "reprise-materializer"}
    assert sources["password"] == ("reprise-materializer", "password")
    assert sources["ca"] == ("reprise-kafka-cluster-ca-cert", "ca.crt")


def test_a_budget_never_forbids_every_eviction() -> None:
    for budget in render("-f", "production").of_kind("PodDisruptionBudget"):
        assert budget.spec["maxUnavailable"] >= 1


def test_trainings_do_not_overlap_and_end() -> None:
    spec = render("-f", "production").find("CronJob", "reprise-trainer").spec
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 0
    assert {"successfulJobsHistoryLimit", "failedJobsHistoryLimit"} <= spec.keys()


def test_jobs_that_a_person_starts_never_start_by_themselves() -> None:
    for each in render("-f", "dev", "--set=scoring.enabled=true").of_kind("CronJob"):
        assert each.spec["suspend"] is (each.component not in {"trainer", "compaction", "scoring"}), each.name


def pool(name: str, roles: list[str], replicas: int) -> dict[str, Any]:
    return served("kafka.strimzi.io/v1", "KafkaNodePool", name, roles=roles, replicas=replicas)


def topic(copies: int) -> dict[str, Any]:
    return served("kafka.strimzi.io/v1", "KafkaTopic", "ecommerce-events", replicas=copies)


DUAL = pool("broker", ["controller", "broker"], 3)
DEDICATED = (pool("broker", ["broker"], 3), pool("controller", ["controller"], 3), topic(3))


@pytest.mark.parametrize(
    ("live", "brokers", "controllers", "refusal"),
    [
        ([DUAL, topic(3)], 3, 0, None),
        ([DUAL], 5, 0, "the node pool broker has 3 controllers and would have 5"),
        ([DUAL], 3, 3, "the node pool broker has 3 controllers and would have 0"),
        (DEDICATED, 5, 3, None),
        (DEDICATED, 3, 0, "the node pool controller has 3 controllers and would have 0"),
        (DEDICATED, 3, 5, "the node pool controller has 3 controllers and would have 5"),
        ([pool("broker", ["broker"], 1), topic(1)], 3, 3, "ecommerce-events has 1 copies and would have 3"),
    ],
)
def test_what_strimzi_does_not_scale_is_refused(
    live: list[dict[str, Any]], brokers: int, controllers: int, refusal: str | None
) -> None:
    sizes = f"--set=kafka.strimzi.brokers.replicas={brokers},kafka.strimzi.controllers.replicas={controllers}"
    with pytest.raises(RenderingError, match=refusal) if refusal else nullcontext():
        render_on(live, "-f", "dev", sizes)
