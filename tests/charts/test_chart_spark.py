"""A trainer whose rows are computed by executors of Spark in pods of their own."""

import pytest
import yaml

from charts.test_chart_access import _egress, _of
from charts.test_chart_pods import _not_restricted
from support.chart import COMPONENT, Pod, Release, RenderingError, render

STORED = "trainer.spark.files=s3://b/spark,storage.s3.existingSecret=s3"
SPARK = ("-f", "dev", f"--set=trainer.executor=spark,{STORED}")
EXECUTORS = "reprise-trainer-executor"


def spark_conf(release: Release) -> dict[str, str]:
    lines = release.config(EXECUTORS)["spark-defaults.conf"].strip().splitlines()
    return dict(line.split(" ", 1) for line in lines)


def executor(release: Release) -> Pod:
    return Pod.model_validate(yaml.safe_load(release.config(EXECUTORS)["executor.yaml"]))


def driver(release: Release) -> Pod:
    return release.pod("trainer", "CronJob")


def test_without_spark_nothing_of_it_is_there() -> None:
    release = render("-f", "dev")
    assert not [each for each in release.manifests if each.name == EXECUTORS]
    names = {variable.name for variable in driver(release).spec.containers[0].env}
    assert not names & {"TRAINER_EXECUTOR", "SPARK_CONF_DIR"}
    assert release.config("reprise-trainer")["TRAINER_EXECUTOR"] == "duckdb"
    assert not release.find("NetworkPolicy", "reprise-trainer").spec["ingress"]


def test_the_trainer_is_the_driver_and_finds_its_settings() -> None:
    size = "trainer.spark.executors=5,trainer.spark.cores=4"
    release = render(*SPARK, f"--set=trainer.image.tag=1-spark,{size}")
    pod = driver(release)
    [container] = pod.spec.containers
    given = {variable.name: variable.value for variable in container.env}
    assert given["TRAINER_EXECUTOR"] == "spark"
    assert given["TRAINER_SPARK_FILES"] == "s3://b/spark"
    assert given["TRAINER_SPARK_MASTER"].startswith("k8s://https://")
    [mount] = [each for each in container.volume_mounts if each.mount_path == given["SPARK_CONF_DIR"]]
    assert {"name": mount.name, "configMap": {"name": EXECUTORS}} in pod.spec.volumes
    mounted = {each.mount_path for each in container.volume_mounts}
    assert "/var/run/secrets/kubernetes.io/serviceaccount" in mounted
    conf = spark_conf(release)
    assert conf["spark.kubernetes.container.image"] == container.image == "reprise-trainer:1-spark"
    assert conf["spark.kubernetes.driver.pod.name"] == "${env:POD_NAME}"
    assert conf["spark.driver.host"] == "${env:POD_IP}"
    assert {"POD_NAME", "POD_IP"} <= given.keys()
    assert (conf["spark.executor.instances"], conf["spark.executor.cores"]) == ("5", "4")
    assert conf["spark.authenticate"] == "true"
    assert not [name for name in conf if name.startswith(("spark.dynamicAllocation", "spark.eventLog"))]


def test_a_trainer_that_may_need_spark_is_prepared_and_chooses_by_the_number_of_events() -> None:
    few = "trainer.settings.TRAINER_DUCKDB_MAX_EVENTS=1000"
    release = render(*SPARK, f"--set=trainer.executor=auto,{few}")
    given = {variable.name: variable.value for variable in driver(release).spec.containers[0].env}
    assert given["TRAINER_EXECUTOR"] == "auto"
    assert given["TRAINER_SPARK_MASTER"].startswith("k8s://https://")
    assert release.config("reprise-trainer")["TRAINER_DUCKDB_MAX_EVENTS"] == "1000"
    assert spark_conf(release)["spark.authenticate"] == "true"


def test_settings_of_the_values_override_and_s3_is_that_of_the_chart() -> None:
    release = render(
        *SPARK,
        "--set=storage.s3.endpointUrl=http://minio:9000,storage.s3.region=eu-west-1",
        "--set=trainer.spark.eventLogs=s3://b/logs",
        r"--set=trainer.spark.conf.spark\.driver\.port=9999,trainer.spark.conf.spark\.sql\.shuffle\.partitions=400",
    )
    conf = spark_conf(release)
    assert conf["spark.hadoop.fs.s3a.endpoint"] == "http://minio:9000"
    assert conf["spark.hadoop.fs.s3a.endpoint.region"] == "eu-west-1"
    assert (conf["spark.eventLog.enabled"], conf["spark.eventLog.dir"]) == ("true", "s3a://b/logs")
    assert (conf["spark.driver.port"], conf["spark.sql.shuffle.partitions"]) == ("9999", "400")
    for pod in (executor(release), driver(release)):
        env = {each.name: each.value_from for each in pod.spec.containers[0].env}
        assert env["AWS_ACCESS_KEY_ID"] == {"secretKeyRef": {"name": "s3", "key": "AWS_ACCESS_KEY_ID"}}


def test_an_executor_is_restricted_without_a_token_and_may_do_nothing() -> None:
    release = render(*SPARK, "--set=global.image.pullSecrets={registry},trainer.nodeSelector.disk=ssd")
    raw = yaml.safe_load(release.config(EXECUTORS)["executor.yaml"])
    pod = Pod.model_validate(raw)
    assert _not_restricted(pod) == []
    assert pod.spec.containers[0].security_context["readOnlyRootFilesystem"] is True
    assert pod.spec.automount_service_account_token is False
    assert pod.spec.service_account_name == EXECUTORS
    assert raw["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert raw["spec"]["nodeSelector"] == {"disk": "ssd"}
    bound = {
        subject["name"] for binding in release.of_kind("RoleBinding") for subject in binding.raw["subjects"]
    }
    assert bound == {"reprise-trainer"}
    [role] = release.of_kind("Role")
    assert [(rule["apiGroups"], rule["resources"]) for rule in role.raw["rules"]] == [([""], ["pods"])]
    assert "*" not in role.raw["rules"][0]["verbs"]


def test_driver_and_executors_reach_each_other_and_the_driver_the_api() -> None:
    release = render(*SPARK)
    flows = {flow for flow in _egress(release) if "trainer-executor" in flow}
    assert flows == {
        ("trainer", "trainer-executor", 7079),
        ("trainer-executor", "trainer", 7078),
        ("trainer-executor", "trainer", 7079),
        ("trainer-executor", "trainer-executor", 7079),
    }
    accepted = {
        (peer["podSelector"]["matchLabels"][COMPONENT], _of(policy), port["port"])
        for policy in release.of_kind("NetworkPolicy")
        if _of(policy).startswith("trainer")
        for rule in policy.spec["ingress"]
        for peer in rule["from"]
        for port in rule["ports"]
    }
    assert accepted == flows
    selected = release.find("NetworkPolicy", EXECUTORS).spec["podSelector"]["matchLabels"]
    assert selected.items() <= executor(release).metadata.labels.items()
    ports = {
        name: {port["port"] for rule in policy.spec["egress"] if "to" not in rule for port in rule["ports"]}
        for name in ("reprise-trainer", EXECUTORS)
        for policy in [release.find("NetworkPolicy", name)]
    }
    assert ports == {"reprise-trainer": {53, 443, 6443}, EXECUTORS: {53, 443}}


def test_a_shared_volume_takes_the_place_of_s3() -> None:
    shared = (
        "--set=trainer.spark.files=/shared,trainer.extraVolumes[0].name=shared",
        "--set=trainer.extraVolumes[0].persistentVolumeClaim.claimName=rwx",
        "--set=trainer.extraVolumeMounts[0].name=shared,trainer.extraVolumeMounts[0].mountPath=/shared",
    )
    release = render("-f", "dev", "--set=trainer.executor=spark", *shared)
    for pod in (executor(release), driver(release)):
        assert {"name": "shared", "persistentVolumeClaim": {"claimName": "rwx"}} in pod.spec.volumes
        assert "/shared" in {mount.mount_path for mount in pod.spec.containers[0].volume_mounts}


@pytest.mark.parametrize("files", ["", "gs://b/spark"])
def test_a_place_that_executors_do_not_reach_is_refused(files: str) -> None:
    with pytest.raises(RenderingError, match=r"give an s3:// address in trainer\.spark\.files"):
        render("-f", "dev", f"--set=trainer.executor=spark,trainer.spark.files={files}")


def test_the_first_training_of_a_seed_stays_without_spark() -> None:
    release = render(*SPARK)
    assert release.config("reprise-trainer")["TRAINER_EXECUTOR"] == "duckdb"
    [seed] = [pod for each, pod in release.pods() if each.component == "seed"]
    assert "TRAINER_EXECUTOR" not in {variable.name for variable in seed.spec.containers[0].env}
