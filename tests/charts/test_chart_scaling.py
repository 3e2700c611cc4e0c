from support.chart import render

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


def test_without_keda_in_the_cluster_there_are_replicas() -> None:
    release = render("-f", "dev", SCALED, "--set=materializer.replicas=4")
    assert release.of_kind("ScaledObject") == []
    assert release.find("Deployment", "reprise-materializer").spec["replicas"] == 4


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
    for each in render("-f", "dev").of_kind("CronJob"):
        assert each.spec["suspend"] is (each.component != "trainer"), each.name
