"""skaffold.yaml and Tiltfile, held against the repository and the chart; neither program is needed for it."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from support.chart import CHART, ROOT, Release, render

SKAFFOLD = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
ARTIFACTS = {artifact["image"]: artifact for artifact in SKAFFOLD["build"]["artifacts"]}
RELOADED = {"reprise-predictor", "reprise-producer", "reprise-materializer", "reprise-archiver"}


def pointed_at(document: Any, pointer: str) -> Any:
    for key in pointer.strip("/").split("/"):
        document = document[int(key)] if isinstance(document, list) else document[key]
    return document


def patched(profile: dict[str, Any]) -> Any:
    """Return skaffold.yaml after a profile's patches."""
    document = json.loads(json.dumps(SKAFFOLD))
    for patch in profile["patches"]:
        above, _, key = patch["path"].rpartition("/")
        assert patch["op"] == "add" or key in pointed_at(document, above)
        pointed_at(document, above)[key] = patch["value"]
    return document


def with_profile(name: str) -> Release:
    """Return what the chart makes of the values that Skaffold gives it, as after a build."""
    [profile] = [profile for profile in SKAFFOLD["profiles"] if profile["name"] == name]
    [release] = patched(profile)["deploy"]["helm"]["releases"]
    built = {
        key: template.replace(template[: template.rindex("_reprise_") + 1], "")
        if template.startswith("{{")
        else template
        for key, template in release["setValueTemplates"].items()
    }
    arguments = [word for file in release["valuesFiles"] for word in ("-f", str(ROOT / file))]
    for key, value in built.items():
        text = "sha256:" + "b" * 64 if key.endswith("digest") else value.strip("}")
        arguments.append(f"--set-string={key}={text}")
    return render(
        *arguments,
        *(f"--set-json={key}={json.dumps(value)}" for key, value in release.get("setValues", {}).items()),
        with_schema=True,
    )


@pytest.mark.parametrize("profile", ["dev", "kind", "production"])
def test_every_profile_of_skaffold_gives_the_chart_values_that_it_takes(profile: str) -> None:
    assert with_profile(profile).find("Deployment", "reprise-predictor")


def test_skaffold_builds_every_image_that_the_chart_runs() -> None:
    images = {
        container.image.partition(":")[0].rpartition("/")[2]
        for _, container in render("-f", "dev").containers()
    }
    assert images - {"redis", "kafdrop"} <= ARTIFACTS.keys()
    assert {artifact["docker"]["dockerfile"] for artifact in ARTIFACTS.values()} == {"Dockerfile"}
    for image, artifact in ARTIFACTS.items():
        assert f"reprise-{artifact['docker']['buildArgs']['COMPONENT']}" == image


def test_skaffold_syncs_every_source_of_an_image_to_where_the_image_has_it() -> None:
    assert "--target /opt/reprise" in (ROOT / "Dockerfile").read_text()
    for image in RELOADED:
        component = image.removeprefix("reprise-")
        rules = ARTIFACTS[image]["sync"]["manual"]
        assert {rule["src"] for rule in rules} == {
            f"{folder}/**/*.py"
            for folder in ("libs/reprise", "feature_repo/reprise", f"services/reprise/{component}")
        }
        for rule in rules:
            assert rule["dest"] == "/opt/reprise"
            assert rule["src"].startswith(f"{rule['strip']}reprise/")


def test_what_skaffold_writes_is_what_the_container_watches_and_may_write() -> None:
    release = with_profile("dev")
    for image in RELOADED:
        pod = release.pod(image.removeprefix("reprise-"))
        container = pod.spec.containers[0]
        assert "/opt/reprise" in {each.mount_path for each in container.volume_mounts if not each.read_only}
        assert container.command[:2] == ["python", "-c"]
        assert 'CODE = "/opt/reprise"' in container.command[2]
        assert pod.spec.init_containers[0].name == "copy-code"


def test_skaffold_forwards_ports_that_services_have() -> None:
    [dev] = [profile for profile in SKAFFOLD["profiles"] if profile["name"] == "dev"]
    services = {each.name: each for each in with_profile("dev").of_kind("Service")}
    for forward in dev["portForward"]:
        ports = {port["port"] for port in services[forward["resourceName"]].spec["ports"]}
        assert forward["port"] in ports


@dataclass
class Tilt:
    """The functions that a Tiltfile calls, and what it called them with."""

    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: list[dict[str, Any]] = field(default_factory=list)
    rename: Any = None

    def builtins(self) -> dict[str, Any]:
        return {
            "config": SimpleNamespace(
                define_string=lambda name, usage: None,
                define_string_list=lambda name, usage: None,
                parse=dict,
            ),
            "os": SimpleNamespace(path=SimpleNamespace(exists=lambda path: (ROOT / path).exists())),
            "read_file": lambda path: (ROOT / path).read_text(),
            "encode_yaml": lambda content: [content],
            "sync": lambda local, remote: (local, remote),
            "port_forward": lambda local, container, name: (local, container),
            "link": lambda url, name: url,
            "docker_build": lambda ref, context, **given: self.images.update({ref: given}),
            "k8s_yaml": self.objects.extend,
            "helm": self.helm,
            "k8s_resource": lambda workload="", new_name="", **given: self.resources.update(
                {workload or new_name: given}
            ),
            "workload_to_resource_function": lambda function: setattr(self, "rename", function),
        }

    def helm(
        self, chart: str, *, name: str, namespace: str, values: list[str], **given: list[str]
    ) -> list[dict[str, Any]]:
        assert (ROOT / chart, name, namespace) == (CHART, "reprise", "reprise")
        arguments = [word for file in values for word in ("-f", str(ROOT / file))]
        release = render(*arguments, *(f"--set={value}" for value in given["set"]), with_schema=True)
        return [each.raw for each in release.manifests]


@pytest.fixture(scope="module")
def tilt() -> Tilt:
    made = Tilt()
    # Starlark is a part of Python
    exec(compile((ROOT / "Tiltfile").read_text(), "Tiltfile", "exec"), made.builtins())
    return made


def test_tilt_builds_and_syncs_the_same_as_skaffold(tilt: Tilt) -> None:
    assert {image: given["build_args"] for image, given in tilt.images.items()} == {
        image: artifact["docker"]["buildArgs"]
        for image, artifact in ARTIFACTS.items()
        if image in tilt.images
    }
    assert tilt.images.keys() >= RELOADED
    for image, given in tilt.images.items():
        rules = ARTIFACTS[image].get("sync", {"manual": []})["manual"]
        assert set(given["live_update"]) == {
            (
                folder := rule["src"].removesuffix("/**/*.py"),
                f"/opt/reprise/{folder.removeprefix(rule['strip'])}",
            )
            for rule in rules
        }
        assert all(local in given["only"] for local, _ in given["live_update"])


def test_every_resource_that_tilt_groups_is_one_that_the_chart_makes(tilt: Tilt) -> None:
    workloads = {
        tilt.rename(SimpleNamespace(name=each["metadata"]["name"], kind=each["kind"]))
        for each in tilt.objects
        if each["kind"] in {"Deployment", "StatefulSet", "CronJob", "Job"}
    }
    assert workloads == tilt.resources.keys() - {"kafka"}
    kinds = {f"{each['metadata']['name']}:{each['kind'].lower()}" for each in tilt.objects}
    assert set(tilt.resources["kafka"]["objects"]) <= kinds
    assert all(given["labels"] for given in tilt.resources.values())


def test_tilt_forwards_ports_that_containers_have(tilt: Tilt) -> None:
    for each in tilt.objects:
        for _, port in tilt.resources.get(each["metadata"]["name"], {}).get("port_forwards", []):
            containers = (
                each["spec"]["template"]["spec"]["containers"] if each["kind"] == "Deployment" else []
            )
            for container in containers:
                assert port in {own["containerPort"] for own in container["ports"]}, each["metadata"]["name"]


def test_tilt_gives_redis_passwords_that_stay_the_same_each_time_it_renders(tilt: Tilt) -> None:
    [secret] = [each for each in tilt.objects if each["kind"] == "Secret"]
    pod = next(each for each in tilt.objects if each["kind"] == "StatefulSet")["spec"]["template"]["spec"]
    keys = {
        (variable["valueFrom"]["secretKeyRef"]["name"], variable["valueFrom"]["secretKeyRef"]["key"])
        for variable in pod["initContainers"][0]["env"]
    }
    assert keys == {(secret["metadata"]["name"], key) for key in secret["stringData"]}
