"""Pods restart at the upgrade after a Secret from elsewhere has changed; a small API server has the Secrets."""

import json

import pytest

from charts.conftest import EXTERNAL
from support.chart import Release, RenderingError, render
from support.chart_api_server import render_on

SECRETS = ("kafka-users", "kafka-ca", "redis-users", "redis-ca", "s3")
KAFKA = {
    "predictor",
    "producer",
    "materializer",
    "archiver",
    "backfill",
    "doctor",
    "topics",
    "seed",
    "kafdrop",
}
REDIS = {"predictor", "materializer", "backfill", "doctor", "feast", "rollout", "outcomes", "seed"}
READERS = {
    "kafka-users": KAFKA,
    "kafka-ca": KAFKA,
    "redis-users": REDIS,
    "redis-ca": REDIS,
    "s3": {
        "predictor",
        "archiver",
        "compaction",
        "trainer",
        "backfill",
        "doctor",
        "feast",
        "outcomes",
        "seed",
    },
}
RENDERED = ("--set=kafka.mode=external,kafka.external.bootstrapServers=kafka:9092,storage.singleNode=true",)
OPTIONS = ("-f", "dev", *EXTERNAL, "--set=rollout.enabled=true,outcomes.enabled=true")


def checksums(secrets: dict[str, str]) -> dict[str, str]:
    """Return the checksum of the Secrets that each component has."""
    objects = (
        {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name}, "data": {"content": content}}
        for name, content in secrets.items()
    )
    return _checksums(render_on(objects, *OPTIONS))


def _checksums(release: Release) -> dict[str, str]:
    return {
        pod.metadata.labels["app.kubernetes.io/component"]: pod.metadata.annotations["checksum/secret"]
        for each, pod in release.pods()
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
        text = each.raw["spec"]
        for name in SECRETS:
            if each.kind != "Pod" and json.dumps(name) in json.dumps(text):
                found[name].add(pod.metadata.labels["app.kubernetes.io/component"])
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
