"""Pods restart at the upgrade after a Secret from elsewhere has changed; a small API server has the Secrets."""

import json
import re

import pytest
import yaml

from charts.conftest import EXTERNAL
from support.chart import CHART, COMPONENT, ROOT, Release, RenderingError, render
from support.chart_api_server import render_on

SECRETS = ("kafka-users", "kafka-ca", "redis-users", "redis-ca", "s3")
KAFKA = {
    "predictor", "producer", "materializer", "archiver", "backfill", "forget", "doctor", "topics", "seed", "kafdrop",
}  # fmt: skip
REDIS = {"predictor", "materializer", "backfill", "forget", "doctor", "feast", "rollout", "outcomes", "seed"}
READERS = {
    "kafka-users": KAFKA,
    "kafka-ca": KAFKA,
    "redis-users": REDIS,
    "redis-ca": REDIS,
    "s3": {
        "predictor", "archiver", "compaction", "scoring", "trainer", "backfill", "forget", "doctor", "feast",
        "outcomes", "rollout", "seed", "status",
    },
}  # fmt: skip
RENDERED = (
    "--set=kafka.mode=external,kafka.external.bootstrapServers=kafka:9092,storage.singleNode=true",
    "--set=producer.apiKeys.existingSecret=keys",
)
OPTIONS = (
    *("-f", "dev", *EXTERNAL),
    "--set=rollout.enabled=true,outcomes.enabled=true,forget.enabled=true,scoring.enabled=true,status.report.enabled=true",
)


def checksums(secrets: dict[str, str]) -> dict[str, str]:
    """Return the checksum of the Secrets that each component has."""
    objects = (
        {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name}, "data": {"content": content}}
        for name, content in secrets.items()
    )
    return {
        pod.metadata.labels[COMPONENT]: pod.metadata.annotations["checksum/secret"]
        for _, pod in render_on(objects, *OPTIONS).pods()
        if "checksum/secret" in pod.metadata.annotations
    }


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    return checksums(dict.fromkeys(SECRETS, "b2xk"))


@pytest.mark.parametrize("name", SECRETS)
def test_a_changed_secret_restarts_its_readers_and_nobody_else(name: str, before: dict[str, str]) -> None:
    after = checksums(dict.fromkeys(SECRETS, "b2xk") | {name: "bmV3"})
    assert before.keys() == after.keys()
    assert {component for component in before if before[component] != after[component]} == READERS[name]


def test_readers_are_those_whose_pods_refer_to_the_secret() -> None:
    found: dict[str, set[str]] = {name: set() for name in SECRETS}
    for each, pod in render(*OPTIONS).pods():
        for name in SECRETS:
            if each.kind != "Pod" and json.dumps(name) in json.dumps(each.spec):
                found[name].add(pod.metadata.labels[COMPONENT])
    assert found == READERS


@pytest.mark.parametrize(
    "options", [(), ("-f", "production"), ("-f", "dev", "--set=redis.existingSecret=mine")]
)
def test_every_rendering_without_a_cluster_is_the_same(options: tuple[str, ...]) -> None:
    assert render(*options, "--set=fullnameOverride=").manifests == render(*options).manifests


def test_a_cluster_gets_generated_passwords_only_if_helm_is_told_to_and_keeps_those_it_has() -> None:
    on_cluster = (*RENDERED, "--api-versions=apiregistration.k8s.io/v1")
    with pytest.raises(RenderingError, match=r"--from-literal=predictor-password=\$\(openssl rand"):
        render(*on_cluster)
    for given in ("redis.existingSecret=mine", "redis.generatePasswords=true"):
        assert render(*on_cluster, f"--set={given}").find("StatefulSet", "reprise-redis")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "reprise-redis"}}
    before = {"predictor-password": "b2xk"}
    after = render_on([secret | {"data": before}], *RENDERED).find("Secret", "reprise-redis").raw["data"]
    assert before.items() < after.items()
    assert "reprise-redis" not in {each.name for each in render(*RENDERED).of_kind("Secret")}


def test_the_commands_for_production_create_the_secrets_that_its_values_name() -> None:
    created = set(re.findall(r"create secret generic (\S+)", (ROOT / "docs/kubernetes.md").read_text()))
    values = (CHART / "values-production.yaml").read_text()
    assert set(re.findall(r"^ *(?:\w*[sS]ecret|name): (reprise-\S+)$", values, re.MULTILINE)) <= created
    for name in ("predictor", "producer"):
        # keys are required, so helm test and the doctor need one
        assert yaml.safe_load(values)[name]["apiKeys"].keys() == {"existingSecret", "testSecret"}


def mounts_of(release: Release, name: str) -> set[str]:
    return {
        manifest.component
        for manifest, container in release.containers()
        if name in {mount.name for mount in container.volume_mounts}
    }


def test_models_are_verified_where_they_are_loaded_and_signed_only_by_the_trainer() -> None:
    release = render(*OPTIONS, "--set=storage.models.trustedKeys=PEM,storage.models.signingKeySecret=signing")
    loading = {"predictor", "trainer", "outcomes", "scoring", "doctor", "rollout"}
    for component in loading:
        trusted = release.config_of(component)["REPRISE_TRUSTED_KEYS_FILE"]
        assert trusted == "/etc/reprise/trusted-keys/trusted.pem"
    assert release.config("reprise-trusted-keys") == {"trusted.pem": "PEM\n"}
    # the job that erases users reads the store's manifests and loads no model
    assert mounts_of(release, "trusted-keys") == loading | {"seed", "forget"}
    assert mounts_of(release, "signing-key") == {"trainer", "seed"}


def test_routing_and_evidence_are_signed_by_who_writes_them_and_verified_by_who_reads_them() -> None:
    signing = "trustedKeys=PEM,{0}.signing.keySecret={0}-key"
    values = ",".join(f"{name}.signing.{signing.format(name)}" for name in ("rollout", "outcomes"))
    release = render(*OPTIONS, f"--set={values}")
    assert release.config("reprise-trusted-keys") == {"routing.pem": "PEM\n", "evidence.pem": "PEM\n"}
    readers = {"predictor", "rollout", "outcomes", "doctor"}
    found = {
        (name.removeprefix("REPRISE_"), value.removeprefix("/etc/reprise/"), component)
        for component in ("predictor", "rollout", "outcomes", "doctor", "trainer", "scoring", "materializer")
        for name, value in release.config_of(component).items()
        if name.endswith(("_KEYS_FILE", "_KEY_FILE"))
    }
    assert found == {
        *(("ROUTING_TRUSTED_KEYS_FILE", "trusted-keys/routing.pem", each) for each in readers),
        ("ROUTING_SIGNING_KEY_FILE", "signing-key/signing.pem", "rollout"),
        ("EVIDENCE_TRUSTED_KEYS_FILE", "trusted-keys/evidence.pem", "rollout"),
        ("EVIDENCE_SIGNING_KEY_FILE", "signing-key/signing.pem", "outcomes"),
    }
    assert readers <= mounts_of(release, "trusted-keys")
    secrets = {
        manifest.component: volume["secret"]["secretName"]
        for manifest, pod in release.pods()
        for volume in pod.spec.volumes
        if volume["name"] == "signing-key"
    }
    assert secrets == {"rollout": "rollout-key", "outcomes": "outcomes-key"}
    assert mounts_of(release, "signing-key") == set(secrets)
    for name in secrets:
        with pytest.raises(RenderingError, match=rf"name the Secret .* in {name}\.signing\.keySecret"):
            render(*OPTIONS, f"--set={values},{name}.signing.keySecret=")


def test_production_refuses_unsigned_routing_and_evidence() -> None:
    release = render("-f", "production")
    assert "REPRISE_ROUTING_TRUSTED_KEYS_FILE" in release.config("reprise-predictor")
    assert mounts_of(render("-f", "production", "--set=outcomes.enabled=true"), "signing-key") == {"trainer"}
    operating = render("-f", "production", "--set=rollout.enabled=true,outcomes.enabled=true")
    assert mounts_of(operating, "signing-key") == {"trainer", "rollout", "outcomes"}


def test_production_refuses_unsigned_models() -> None:
    assert "REPRISE_TRUSTED_KEYS_FILE" in render("-f", "production").config("reprise-predictor")
    with pytest.raises(RenderingError, match=r"requireSignature needs storage\.models\.trustedKeys"):
        render("-f", "production", "--set=storage.models.trustedKeys=")
    unsigned = "storage.models.signingKeySecret="
    with pytest.raises(RenderingError, match=r"name the Secret .* in storage\.models\.signingKeySecret"):
        render("-f", "production", f"--set={unsigned}")
    render("-f", "production", f"--set={unsigned},trainer.settings.TRAINER_SET_LATEST=false")


def test_a_component_has_its_own_s3_credentials_or_those_of_all() -> None:
    release = render("-f", "production", "--set=storage.s3.existingSecrets.predictor=models-read")
    secrets = {
        manifest.component: {
            variable.value_from["secretKeyRef"]["name"]
            for container in pod.spec.all_containers
            for variable in container.env
            if variable.value_from and variable.name.startswith("AWS_")
        }
        for manifest, pod in release.pods()
    }
    assert secrets["predictor"] == {"models-read"}
    assert secrets["archiver"] == secrets["trainer"] == {"reprise-s3"}
    assert secrets["materializer"] == set()


def test_feasts_page_without_a_login_has_credentials_of_its_own() -> None:
    options = ("-f", "production", "--set=feast.ui.enabled=true")
    given = "--set=storage.s3.existingSecrets.feast=registry-write"
    for more, expected in (("", "registry-write"), (",storage.s3.existingSecrets.feast-ui=read", "read")):
        release = render(*options, given + more)
        [container] = release.pod("feast-ui").spec.containers
        keys = [each.value_from["secretKeyRef"] for each in container.env if each.value_from]
        assert {each["name"] for each in keys if each["key"].startswith("AWS_")} == {expected}
        [job] = [pod for each, pod in release.pods() if (each.kind, each.component) == ("Job", "feast")]
        assert "registry-write" in str(job.spec.containers[0].env)


def test_a_registry_in_an_object_store_beside_volumes_can_be_reached() -> None:
    release = render("-f", "dev", "--set=feast.registry=s3://b/registry.db,storage.s3.existingSecret=s3")
    assert {"ports": [{"port": 443}]} in release.egress("feast")


def test_whoever_uses_the_object_store_verifies_it_by_a_ca_of_the_values() -> None:
    ca = "--set=storage.s3.caSecret.name=s3-ca,storage.s3.caSecret.key=root.pem"
    release = render(*OPTIONS, ca, "--set=predictor.extraVolumes[0].name=more")
    secret = {"secretName": "s3-ca", "items": [{"key": "root.pem", "path": "ca.crt"}]}
    verifying = set()
    for each, pod in release.pods():
        for container in pod.spec.all_containers:
            configs = [release.config(source["configMapRef"]["name"]) for source in container.env_from]
            bundle = next((config.get("AWS_CA_BUNDLE") for config in configs), None)
            uses = "AWS_ACCESS_KEY_ID" in {variable.name for variable in container.env}
            assert (bundle == "/etc/reprise/s3/ca.crt") is uses, (each.name, container.name)
            if uses:
                verifying.add(each.component)
                assert "/etc/reprise/s3" in {mount.mount_path for mount in container.volume_mounts}
                assert pod.spec.volumes.count({"name": "s3-ca", "secret": secret}) == 1
    assert verifying == {*READERS["s3"], "feast-ui"}
    without = render(*OPTIONS)
    assert "AWS_CA_BUNDLE" not in without.config("reprise-predictor")
    assert not [each.name for each, pod in without.pods() if "s3-ca" in str(pod.spec.volumes)]


def object_store(protocol: str, store: str, *options: str, more: str = "") -> Release:
    urls = f"storage.models.url={protocol}://b/models,storage.offline.url={protocol}://b/offline"
    given = [f"--set=storage.{store}.{each}" for each in options]
    readers = "scoring.enabled=true,status.report.enabled=true"
    return render("-f", "production", f"--set={urls},{readers}", *given, *([more] if more else []))


def test_google_cloud_storage_is_reached_by_a_key_file_of_the_component() -> None:
    release = object_store("gs", "gcs", "existingSecret=gcs", "existingSecrets.predictor=gcs-read")
    for each, pod in release.pods():
        [own, *_] = pod.spec.containers
        variables = {variable.name: variable.value for variable in own.env}
        assert not {"AWS_ACCESS_KEY_ID", "AZURE_STORAGE_CONNECTION_STRING"} & variables.keys()
        volumes = {volume["name"]: volume for volume in pod.spec.volumes}
        uses = "GOOGLE_APPLICATION_CREDENTIALS" in variables
        assert uses is ("gcs-key" in volumes) is (each.component in {*READERS["s3"], "compaction"}), each.name
        if uses:
            [mount] = [mount for mount in own.volume_mounts if mount.name == "gcs-key"]
            assert variables["GOOGLE_APPLICATION_CREDENTIALS"] == f"{mount.mount_path}/key.json"
            expected = "gcs-read" if each.component == "predictor" else "gcs"
            assert volumes["gcs-key"]["secret"]["secretName"] == expected


def test_a_key_file_and_a_ca_are_volumes_side_by_side() -> None:
    release = object_store("gs", "gcs", "existingSecret=gcs", more="--set=storage.s3.caSecret.name=s3-ca")
    predictor = release.pod("predictor").spec
    assert {"s3-ca", "gcs-key"} <= {volume["name"] for volume in predictor.volumes}
    assert {"s3-ca", "gcs-key"} <= {mount.name for mount in predictor.containers[0].volume_mounts}


def test_azure_is_reached_by_a_connection_string_or_the_identity_of_the_component() -> None:
    no_feast = "--set=feast.enabled=false"
    given = ("existingSecret=azure", "existingSecrets.predictor=azure-read")
    secrets = {
        manifest.component: variable.value_from["secretKeyRef"]["name"]
        for manifest, pod in object_store("abfs", "azure", *given, more=no_feast).pods()
        for variable in pod.spec.containers[0].env
        if variable.value_from and variable.name == "AZURE_STORAGE_CONNECTION_STRING"
    }
    assert secrets.pop("predictor") == "azure-read"
    assert set(secrets.values()) == {"azure"}
    assert "materializer" not in secrets
    release = object_store("abfs", "azure", "workloadIdentity=true", "account=shop", more=no_feast)
    assert release.config("reprise-trainer")["AZURE_STORAGE_ACCOUNT_NAME"] == "shop"
    label = "azure.workload.identity/use"
    labelled = {each.component for each, pod in release.pods() if label in pod.metadata.labels}
    assert labelled == secrets.keys() | {"predictor"}


@pytest.mark.parametrize(
    ("protocol", "store", "options", "sentence"),
    [
        ("gs", "gcs", (), r"key\.json in storage\.gcs\.existingSecret"),
        ("abfs", "azure", (), r"AZURE_STORAGE_CONNECTION_STRING in storage\.azure\.existingSecret"),
        ("abfs", "azure", ("workloadIdentity=true",), r"storage\.azure\.account"),
        ("abfs", "azure", ("existingSecret=azure",), r"Feast has no registry on abfs://"),
        ("http", "s3", (), r"an s3://, gs:// or abfs:// address"),
    ],
)
def test_an_object_store_without_credentials_or_beyond_what_can_be_kept_is_refused(
    protocol: str, store: str, options: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(RenderingError, match=sentence):
        object_store(protocol, store, *options)


def test_one_release_uses_one_object_store() -> None:
    with pytest.raises(RenderingError, match=r"s3 and gcs|gcs and s3"):
        render("-f", "production", "--set=storage.models.url=gs://b/models,storage.gcs.existingSecret=gcs")
