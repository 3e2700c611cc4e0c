import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.chart import CHART, Pod, Release, helm, render
from support.strimzi import Provider, strimzi_pods

LONG_RUNNING = {"Deployment", "StatefulSet"}
IMAGE = re.compile(r"[a-z0-9.:/_-]+/?[a-z0-9._-]+(:[\w.-]+|@sha256:[0-9a-f]{64})")
RESTRICTED_VOLUMES = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}


def test_every_pod_passes_the_restricted_pod_security_standard(release: Release) -> None:
    broken = {
        f"{each.kind} {each.name}": wrong for each, pod in release.pods() if (wrong := _not_restricted(pod))
    }
    assert broken == {}


def _not_restricted(pod: Pod) -> list[str]:
    """Return in what a pod breaks https://kubernetes.io/docs/concepts/security/pod-security-standards/."""
    spec = pod.spec
    wrong = [name for name in ("host_network", "host_pid", "host_ipc") if getattr(spec, name)]
    wrong += [f"volume {each['name']}" for each in spec.volumes if set(each) - {"name"} - RESTRICTED_VOLUMES]
    for container in spec.all_containers:
        security = container.security_context
        effective = spec.security_context | security
        if not effective.get("runAsNonRoot") or effective.get("runAsUser") == 0:
            wrong.append(f"{container.name} may run as root")
        if effective.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
            wrong.append(f"{container.name} has no seccomp profile")
        if security.get("allowPrivilegeEscalation") is not False:
            wrong.append(f"{container.name} may gain privileges")
        if security.get("capabilities") != {"drop": ["ALL"]}:
            wrong.append(f"{container.name} keeps capabilities")
        if set(security) & {"privileged", "procMount", "runAsUser"}:
            wrong.append(f"{container.name} asks for more")
        wrong += [
            f"{container.name} takes a port of the host" for port in container.ports if "hostPort" in port
        ]
    return wrong


@pytest.mark.parametrize("provider", ["baseline", "restricted"])
@pytest.mark.parametrize("controllers", [0, 3])
def test_strimzis_pods_pass_the_restricted_standard_and_may_write_to_root_owned_volumes(
    provider: Provider, controllers: int
) -> None:
    replicas = f"--set=kafka.strimzi.controllers.replicas={controllers}"
    pods = strimzi_pods(render("-f", "production", replicas), provider)
    assert len(pods) == (4 if controllers else 3)
    for raw in pods:
        assert _not_restricted(Pod.model_validate(raw)) == [], raw["metadata"]["name"]
        if "persistentVolumeClaim" in str(raw["spec"]["volumes"]):
            # Strimzi sets it itself only where the pod has no security context
            assert raw["spec"]["securityContext"]["fsGroup"] == 0


def test_strimzis_default_provider_alone_would_not_pass() -> None:
    release = render("-f", "production")
    for raw in strimzi_pods(release, "baseline", templates=False):
        assert len(_not_restricted(Pod.model_validate(raw))) >= 4
    for raw in strimzi_pods(release, "restricted", templates=False):
        assert _not_restricted(Pod.model_validate(raw)) == []


def test_ids_of_users_and_groups_can_be_left_to_openshift() -> None:
    unset = ",".join(f"podSecurityContext.{key}=null" for key in ("runAsUser", "runAsGroup", "fsGroup"))
    release = render("-f", "dev", f"--set={unset},kafka.strimzi.podSecurityContext.fsGroup=null")
    for each, pod in release.pods():
        assert pod.spec.security_context.keys() == {"runAsNonRoot", "fsGroupChangePolicy", "seccompProfile"}
        assert _not_restricted(pod) == [], each.name
    kafka = release.find("Kafka", "reprise-kafka").spec["kafka"]
    assert "fsGroup" not in kafka["template"]["pod"]["securityContext"]


COMPONENTS = (
    "predictor", "producer", "materializer", "archiver", "rollout", "status", "outcomes", "trainer", "compaction",
    "scoring", "backfill", "forget", "doctor", "datagen", "seed", "topics", "feast", "redis", "kafdrop",
)  # fmt: skip
ALL_ON = (
    "--set=kafka.mode=external,kafka.external.bootstrapServers=kafka:9092,rollout.enabled=true,outcomes.enabled=true",
    "--set=trainer.rollout.name=model,forget.enabled=true,scoring.enabled=true,status.report.enabled=true",
)


def test_every_component_takes_variables_volumes_containers_and_a_service_account() -> None:
    added = {
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy"}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
        "extraContainers": [{"name": "proxy", "image": "proxy:1"}],
        "serviceAccount.name": "existing",
    }
    options = [
        f"--set-json={name}.{key}={json.dumps(value)}"
        for name in COMPONENTS
        for key, value in added.items()
        if (name, key) != ("seed", "extraEnv")
    ]
    release = render("-f", "dev", *ALL_ON, *options)
    assert release.of_kind("ServiceAccount") == []
    for binding in release.of_kind("RoleBinding"):
        assert [subject["name"] for subject in binding.raw["subjects"]] == ["existing"]
    seen = set()
    for each, pod in release.pods():
        assert pod.spec.service_account_name == "existing"
        if each.kind == "Pod":
            continue
        seen.add(each.component)
        own, proxy = pod.spec.containers
        assert proxy.image == "proxy:1"
        assert {"name": "ca", "configMap": {"name": "ca"}} in pod.spec.volumes
        assert "/etc/ca" in {mount.mount_path for mount in own.volume_mounts}, each.name
        assert "HTTPS_PROXY" in {variable.name for variable in own.env}, each.name
    assert seen == {*COMPONENTS, "feast-ui"}


def test_each_component_has_its_own_service_account_unless_one_is_named() -> None:
    release = render("-f", "dev", *ALL_ON)
    made = {each.name for each in release.of_kind("ServiceAccount")}
    assert made == {f"reprise-{name}" for name in COMPONENTS}
    assert {pod.spec.service_account_name for _, pod in release.pods()} == made


def test_common_labels_are_on_objects_and_not_on_pods() -> None:
    release = render("-f", "dev", "--set=commonLabels.team=shop")
    without = {each.kind for each in release.manifests if each.metadata.labels.get("team") != "shop"}
    assert without == {"Kafka", "KafkaNodePool"}
    assert not [pod for each, pod in release.pods() if each.kind != "Pod" and "team" in pod.metadata.labels]


def test_labels_of_the_values_replace_those_of_the_chart_but_not_of_its_selectors() -> None:
    labels = {"app.kubernetes.io/part-of": "shop", "app.kubernetes.io/instance": "other"}
    values = ("commonLabels", "monitoring.labels", "predictor.podLabels")
    release = render(
        *("-f", "dev", "--set=monitoring.enabled=true,storage.azure.workloadIdentity=true"),
        "--set-string=predictor.podLabels.azure\\.workload\\.identity/use=false",
        *(f"--set-json={name}={json.dumps(labels)}" for name in values),
    )
    deployment = release.find("Deployment", "reprise-predictor")
    selector = deployment.spec["selector"]["matchLabels"]
    for metadata in (deployment.metadata, release.pod("predictor").metadata):
        assert {**selector, "app.kubernetes.io/part-of": "shop"}.items() <= metadata.labels.items()


def test_more_objects_are_installed_with_their_templates_evaluated() -> None:
    more = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}}
    assert render(f"--set-json=extraObjects={json.dumps([more])}").find("ConfigMap", "reprise-more")


def test_schedules_are_in_the_time_zone_of_the_values() -> None:
    zones = "--set=trainer.timeZone=Europe/Paris,outcomes.timeZone=Etc/UTC,outcomes.enabled=true"
    release = render("-f", "dev", zones, "--set=scoring.timeZone=Asia/Tokyo,scoring.enabled=true")
    found = {each.component: each.spec.get("timeZone") for each in release.of_kind("CronJob")}
    assert {name: zone for name, zone in found.items() if zone} == {
        "trainer": "Europe/Paris",
        "outcomes": "Etc/UTC",
        "scoring": "Asia/Tokyo",
    }


def test_no_container_can_write_to_its_own_files(release: Release) -> None:
    for each, container in release.containers():
        writable = container.security_context.get("readOnlyRootFilesystem") is not True
        assert not writable, (each.name, container.name)


def test_no_pod_has_a_token_of_the_cluster_or_variables_of_its_services(release: Release) -> None:
    for each, pod in release.pods():
        assert not pod.spec.automount_service_account_token, each.name
        assert not pod.spec.enable_service_links, each.name


def test_every_pod_has_an_account_of_its_component(release: Release) -> None:
    accounts = {each.name: each for each in release.of_kind("ServiceAccount")}
    for each, pod in release.pods():
        account = accounts[pod.spec.service_account_name]
        assert account.raw["automountServiceAccountToken"] is False
        if each.kind != "Pod":
            assert account.component in {each.component, each.component.removesuffix("-ui")}


def test_every_container_has_requests_and_a_limit_of_memory(release: Release) -> None:
    for each, container in release.containers():
        assert {"cpu", "memory"} <= container.resources["requests"].keys(), (each.name, container.name)
        assert "memory" in container.resources["limits"], (each.name, container.name)


def test_every_container_has_the_limits_that_a_quota_may_demand() -> None:
    components = (*COMPONENTS, "redis.exporter")
    limits = [f"--set={name}.resources.limits.cpu=1" for name in components]
    for each, container in render("-f", "dev", *ALL_ON, "--set=dev.reload=true", *limits).containers():
        assert "cpu" in container.resources["limits"], (each.name, container.name)


def test_what_runs_on_is_probed(release: Release) -> None:
    for each, pod in release.pods():
        if each.kind in LONG_RUNNING:
            for container in pod.spec.containers:
                assert all(container.probes), (each.name, container.name)


def test_probes_ask_ports_that_the_container_has(release: Release) -> None:
    for each, container in release.containers():
        names = {port["name"] for port in container.ports}
        asked = {probe["httpGet"]["port"] for probe in container.probes if probe and "httpGet" in probe}
        assert asked <= names, (each.name, container.name)


def test_every_image_has_a_tag_that_is_not_latest(release: Release) -> None:
    for each, container in release.containers():
        assert IMAGE.fullmatch(container.image), (each.name, container.image)
        assert not container.image.endswith(":latest")


def test_a_digest_wins_over_the_tag_in_every_container_of_the_image() -> None:
    keys = (
        *("predictor", "producer", "materializer", "archiver", "trainer", "backfill", "datagen", "status"),
        *("scoring", "doctor", "feast", "redis", "kafdrop"),
    )
    digests = {key: f"sha256:{hashlib.sha256(key.encode()).hexdigest()}" for key in keys}
    before = _images(render("-f", "dev", "--set=kafdrop.enabled=true"))
    given = ",".join(f"{key}.image.digest={digest}" for key, digest in digests.items())
    after = _images(render("-f", "dev", f"--set=kafdrop.enabled=true,{given}"))
    assert before.keys() == after.keys()
    for place, image in after.items():
        repository = before[place].rpartition(":")[0]
        key = repository.rpartition("/")[2].removeprefix("reprise-")
        assert image == f"{repository}@{digests[key]}", place
    assert {image.partition("@")[2] for image in after.values()} == set(digests.values())


def _images(release: Release) -> dict[tuple[str, str], str]:
    return {
        (re.sub(r"-[0-9a-f]{8}$", "", each.name), container.name): container.image
        for each, container in release.containers()
    }


def test_registry_and_tag_of_all_own_images_are_said_once() -> None:
    release = render("-f", "dev", "--set=global.image.registry=registry.example/shop/,global.image.tag=1.2.3")
    own = {container.image for _, container in release.containers()}
    assert "registry.example/shop/reprise-predictor:1.2.3" in own
    foreign = ("docker.io/library/redis:", "docker.io/obsidiandynamics/kafdrop:")
    assert all(image.startswith(("registry.example/shop/reprise-", *foreign)) for image in own)


def test_every_pod_has_the_secrets_of_a_private_registry() -> None:
    release = render("-f", "dev", "--set=global.image.pullSecrets[0]=registry-key")
    own = [manifest for manifest, pod in release.pods() if pod.spec.all_containers]
    assert len(own) > 10
    for manifest in own:
        job = manifest.spec.get("jobTemplate", {"spec": manifest.spec})["spec"]
        template = job.get("template", manifest.raw)
        assert template["spec"]["imagePullSecrets"] == [{"name": "registry-key"}], manifest.name


def test_temporary_files_have_a_limit(release: Release) -> None:
    beside = {"wait-for-seed", "copy-code", "exporter", "users", "properties"}
    for each, pod in release.pods():
        if each.kind == "Pod":
            continue
        for container in pod.spec.all_containers:
            if container.name not in beside:
                for part in ("requests", "limits"):
                    assert "ephemeral-storage" in container.resources[part], (each.name, container.name)
        unlimited = {
            v["name"] for v in pod.spec.volumes if "emptyDir" in v and "sizeLimit" not in v["emptyDir"]
        }
        assert unlimited <= {"code"}, each.name


def test_services_are_replaced_without_a_gap() -> None:
    release = render("-f", "production")
    for name in ("predictor", "producer", "materializer", "archiver"):
        strategy = release.find("Deployment", f"reprise-{name}").spec["strategy"]["rollingUpdate"]
        assert strategy["maxUnavailable"] == 0


def test_a_pod_may_drain_before_it_is_killed() -> None:
    release = render("-f", "production", "--set=predictor.drainSeconds=40,producer.drainSeconds=50")
    for name, variable in (("predictor", "PREDICTOR_DRAIN_SECONDS"), ("producer", "PRODUCER_DRAIN_SECONDS")):
        drain = float(release.config(f"reprise-{name}")[variable])
        # requests under way have 20 s after the drain, and the log its own time
        assert release.pod(name).spec.termination_grace_period_seconds >= drain + 25


def test_replicas_are_spread_over_zones_and_nodes() -> None:
    pod = render("-f", "production").pod("predictor")
    keys = {constraint["topologyKey"] for constraint in pod.spec.topology_spread_constraints}
    assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}


def test_a_changed_setting_restarts_only_the_pods_that_read_it() -> None:
    before, after = (
        {each.name: each.pod for each in render("-f", "dev", *more).of_kind("Deployment")}
        for more in ((), ("--set=predictor.settings.PREDICTOR_MAX_BATCH=500",))
    )
    assert {name for name in before if before[name] != after[name]} == {"reprise-predictor"}


def test_another_version_of_the_chart_restarts_no_pod_and_repeats_no_job(tmp_path: Path) -> None:
    helm("package", str(CHART), "--version=9.9.9", f"--destination={tmp_path}")
    options = ("-f", "dev", "--set=kafdrop.enabled=true,rollout.enabled=true,outcomes.enabled=true")
    before, after = render(*options), render(*options, chart=tmp_path / "reprise-9.9.9.tgz")
    assert {each.metadata.labels.get("helm.sh/chart") for each in after.of_kind("Deployment")} == {
        "reprise-9.9.9"
    }
    assert _templates(before) == _templates(after)


def _templates(release: Release) -> dict[tuple[str, str], Any]:
    """Return the pod templates, and the labels that Strimzi copies to pods."""
    found = {(each.kind, each.name): pod.model_dump() for each, pod in release.pods() if each.kind != "Pod"}
    for kind in ("Kafka", "KafkaNodePool"):
        found |= {(kind, each.name): each.metadata.labels for each in release.of_kind(kind)}
    return found


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ("predictor.replicas=3", set()),
        ("feast.image.tag=v2", {"feast"}),
        ("topics.podLabels.team=shop", {"topics"}),
        ("seed.backoffLimit=9", {"seed"}),
        ("kafka.external.bootstrapServers=other:9092", {"topics", "seed"}),
        ("feast.project=shop", {"feast", "seed"}),
    ],
)
def test_a_job_of_another_spec_or_configuration_is_another_job(given: str, changed: set[str]) -> None:
    options = ("-f", "dev", "--set=kafka.mode=external,kafka.external.bootstrapServers=kafka:9092")
    before, after = (
        {each.component: each.name for each in render(*options, *more).of_kind("Job")}
        for more in ((), (f"--set={given}",))
    )
    assert before.keys() == {"feast", "seed", "topics"}
    assert {component for component in before if before[component] != after[component]} == changed


def test_every_mount_has_its_volume_and_every_volume_its_mount(release: Release) -> None:
    for each, pod in release.pods():
        mounted = {mount.name for container in pod.spec.all_containers for mount in container.volume_mounts}
        claimed = {claim["metadata"]["name"] for claim in each.spec.get("volumeClaimTemplates", [])}
        assert mounted == {volume["name"] for volume in pod.spec.volumes} | claimed, each.name


def test_every_claim_secret_and_configmap_of_a_pod_is_made_or_named_in_the_values(release: Release) -> None:
    made = {(each.kind, each.name) for each in release.manifests}
    given = {
        "s3", "kafka-users", "kafka-ca", "redis-users", "redis-ca", "reprise-s3", "reprise-redis-users",
        "reprise-redis-ca", "reprise-api-keys", "reprise-forget-users", "reprise-producer-keys",
        "reprise-producer-test-key", "reprise-signing-key", "reprise-api-test-key",
    }  # fmt: skip
    # Strimzi makes a Secret for each KafkaUser, and one with the authority of its cluster
    given |= {each.name for each in release.of_kind("KafkaUser")} | {"reprise-kafka-cluster-ca-cert"}
    for each, pod in release.pods():
        for kind, name in _references(pod):
            assert (kind, name) in made or (kind == "Secret" and name in given), (each.name, kind, name)


def _references(pod: Pod) -> list[tuple[str, str]]:
    found = []
    for volume in pod.spec.volumes:
        if "secret" in volume:
            found.append(("Secret", volume["secret"]["secretName"]))
        if "configMap" in volume:
            found.append(("ConfigMap", volume["configMap"]["name"]))
        if "persistentVolumeClaim" in volume:
            found.append(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
    for container in pod.spec.all_containers:
        found += [("ConfigMap", source["configMapRef"]["name"]) for source in container.env_from]
        sources = [variable.value_from for variable in container.env if variable.value_from]
        found += [("Secret", source["secretKeyRef"]["name"]) for source in sources]
    return found
