"""The chart, rendered by Helm into typed objects."""

import functools
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from support.collection import SOAK

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/reprise"
NAMESPACE = "reprise"
RELEASE = "reprise"
COMPONENT = "app.kubernetes.io/component"


class _Object(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel)


class EnvVar(_Object):
    name: str
    value: str | None = None
    value_from: dict[str, Any] | None = None


class Mount(_Object):
    name: str
    mount_path: str
    read_only: bool = False


class Container(_Object):
    name: str
    image: str = ""
    command: list[str] = []
    args: list[str] = []
    env: list[EnvVar] = []
    env_from: list[dict[str, Any]] = []
    ports: list[dict[str, Any]] = []
    resources: dict[str, dict[str, Any]] = {}
    security_context: dict[str, Any] = {}
    volume_mounts: list[Mount] = []
    startup_probe: dict[str, Any] | None = None
    liveness_probe: dict[str, Any] | None = None
    readiness_probe: dict[str, Any] | None = None

    @property
    def probes(self) -> tuple[dict[str, Any] | None, ...]:
        """Those of startup, liveness and readiness."""
        return self.startup_probe, self.liveness_probe, self.readiness_probe


class PodSpec(_Object):
    service_account_name: str
    automount_service_account_token: bool = True
    enable_service_links: bool = True
    restart_policy: str = "Always"
    security_context: dict[str, Any] = {}
    termination_grace_period_seconds: int = 30
    topology_spread_constraints: list[dict[str, Any]] = []
    host_network: bool = False
    host_pid: bool = Field(default=False, alias="hostPID")
    host_ipc: bool = Field(default=False, alias="hostIPC")
    init_containers: list[Container] = []
    containers: list[Container]
    volumes: list[dict[str, Any]] = []

    @property
    def all_containers(self) -> list[Container]:
        """The containers in the order in which they start."""
        return [*self.init_containers, *self.containers]


class Metadata(_Object):
    name: str = ""
    namespace: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Pod(_Object):
    """A pod, or the template of one."""

    metadata: Metadata = Field(default_factory=Metadata)
    spec: PodSpec


@dataclass(frozen=True)
class Manifest:
    """One rendered object; ``raw`` is as Helm wrote it."""

    raw: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.raw["kind"])

    @functools.cached_property
    def metadata(self) -> Metadata:
        return Metadata.model_validate(self.raw["metadata"])

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def component(self) -> str:
        return self.metadata.labels[COMPONENT]

    @property
    def spec(self) -> dict[str, Any]:
        return dict(self.raw["spec"])

    @functools.cached_property
    def pod(self) -> Pod | None:
        """The pod that it is or makes; ``None`` where it is about none."""
        match self.kind:
            case "Pod":
                return Pod.model_validate(self.raw)
            case "Deployment" | "StatefulSet" | "Job":
                return Pod.model_validate(self.spec["template"])
            case "CronJob":
                return Pod.model_validate(self.spec["jobTemplate"]["spec"]["template"])
        return None


@dataclass(frozen=True)
class Release:
    """Everything that one installation would make."""

    manifests: tuple[Manifest, ...]

    def of_kind(self, kind: str) -> list[Manifest]:
        return [each for each in self.manifests if each.kind == kind]

    def find(self, kind: str, name: str) -> Manifest:
        [found] = [each for each in self.of_kind(kind) if each.name == name]
        return found

    def pods(self) -> list[tuple[Manifest, Pod]]:
        """Return every object that is or makes pods, with its pod."""
        return [(each, each.pod) for each in self.manifests if each.pod is not None]

    def pod(self, name: str, kind: str = "Deployment") -> Pod:
        """Return the pod of a component's workload."""
        found = self.find(kind, f"{RELEASE}-{name}").pod
        assert found is not None
        return found

    def containers(self) -> list[tuple[Manifest, Container]]:
        """Return the containers of every pod, each with the object that makes the pod."""
        return [(each, container) for each, pod in self.pods() for container in pod.spec.all_containers]

    def egress(self, component: str) -> list[dict[str, Any]]:
        return list(self.find("NetworkPolicy", f"{RELEASE}-{component}").spec["egress"])

    def config_of(self, component: str) -> dict[str, str]:
        """Return the variables of a component."""
        return self.config(f"{RELEASE}-{component}")

    def config(self, name: str) -> dict[str, str]:
        return dict(self.find("ConfigMap", name).raw["data"])


class RenderingError(Exception):
    """Helm refused; the text is what it said."""


@functools.cache
def helm_path() -> str | None:
    """Return where Helm is, or ``None`` where it neither is nor can be fetched."""
    found = subprocess.run([ROOT / ".ci/helm"], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None


def helm(*arguments: str) -> str:
    """Return what Helm prints, without any cluster."""
    program = helm_path()
    assert program is not None, "fixtures skip a test before"
    # Collecting garbage would take two fifths of Helm's time
    environment = {**os.environ, "KUBECONFIG": "/nonexistent", "GOGC": "off"}
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, env=environment, cwd="/"
    )
    if done.returncode:
        raise RenderingError(done.stderr)
    return done.stdout


class _Loader(yaml.CSafeLoader):
    """Refuses a mapping that repeats a key, as kustomize does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if repeated := {key for key in keys if keys.count(key) > 1}:
            raise RenderingError(f"{node.start_mark}: repeated {repeated}")
        return super().construct_mapping(node, deep)


@functools.cache
def render(*arguments: str, chart: Path = CHART, with_schema: bool = SOAK) -> Release:
    """Return what the chart makes of these arguments; ``-f dev`` is values-dev.yaml.

    Compiling the schema of the values takes half of Helm's time.
    """
    given = [
        str(CHART / f"values-{text}.yaml") if text in {"dev", "production"} else text for text in arguments
    ]
    if not with_schema:
        given.append("--skip-schema-validation")
    text = helm("template", RELEASE, str(chart), f"--namespace={NAMESPACE}", *given)
    documents = yaml.load_all(text, Loader=_Loader)
    return Release(tuple(Manifest(document) for document in documents if document))
