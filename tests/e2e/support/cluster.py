"""A Kubernetes cluster, and the platform in a namespace of it, through kubectl and Helm."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from support.waiting import wait_until

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts/reprise"
FIXTURES = ROOT / "k8s/e2e"
_JOB_SECONDS = 900.0
"""Longest wait for a job: how fast it is says nothing about the platform on a machine that runs all of it."""

INGRESS = os.environ.get("REPRISE_INGRESS", "http://127.0.0.1:8080")
RELEASE = "reprise"


class MissingClusterError(Exception):
    """There is no cluster that the tests could use."""


class CommandError(Exception):
    """A command against the cluster failed."""


@dataclass(frozen=True)
class Cluster:
    kubectl_path: str
    helm_path: str

    @classmethod
    def find(cls) -> Cluster:
        kubectl = shutil.which("kubectl")
        if kubectl is None:
            raise MissingClusterError("kubectl is not installed")
        found = subprocess.run([ROOT / ".ci/helm"], capture_output=True, text=True, check=False)
        if found.returncode != 0:
            raise MissingClusterError(found.stderr.strip())
        cluster = cls(kubectl, found.stdout.strip())
        try:
            cluster.kubectl("get", "--raw", "/readyz", seconds=20)
        except (CommandError, subprocess.TimeoutExpired) as error:
            raise MissingClusterError(f"the cluster of KUBECONFIG does not answer: {error}") from error
        return cluster

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 300) -> str:
        return _run([self.kubectl_path, *arguments], stdin, seconds)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def helm(self, *arguments: str, seconds: float = 600) -> str:
        return _run([self.helm_path, *arguments], None, seconds)

    @property
    def has_folder_volumes(self) -> bool:
        """Whether volumes are folders of the node that belong to root."""
        classes = self.get("storageclasses")["items"]
        return any(each["provisioner"] == "kubernetes.io/host-path" for each in classes)

    @contextmanager
    def definitions(self, wanted: Callable[[dict[str, Any]], bool]) -> Iterator[None]:
        """The wanted CustomResourceDefinitions that others publish, where the cluster does not have them."""
        published = json.loads(gzip.decompress((ROOT / "tests/data/schemas/crds.json.gz").read_bytes()))
        present = {crd["metadata"]["name"] for crd in self.get("customresourcedefinitions")["items"]}
        missing = [crd for crd in published if wanted(crd) and crd["metadata"]["name"] not in present]
        names = [f"crd/{crd['metadata']['name']}" for crd in missing]
        try:
            for crd in missing:
                self.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(crd))
            if names:
                self.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
            yield
        finally:
            if names and os.environ.get("REPRISE_E2E_KEEP") != "1":
                self.kubectl("delete", *names, "--ignore-not-found", "--timeout=60s")


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


@dataclass(frozen=True)
class Platform:
    """The release of the chart in a namespace of its own.

    Attributes:
        cluster: Where.
        namespace: Its namespace; also the first part of the name that its Ingress answers to.
        tag: Of the images.
        extra_values: Files of ``k8s/e2e`` with values besides ``values.yaml``.
        fixtures: Files of ``k8s/e2e`` with what runs beside the release.
        awaited_fixture: The workload of these that is ready before the chart is installed.
        workloads: What of the release is waited for.
        checkout: The repository, of this or another version, whose chart is installed with its values.
        image_tag: Of Reprise's own images where it is not ``tag``.
    """

    cluster: Cluster
    namespace: str
    tag: str
    extra_values: tuple[str, ...] = ()
    fixtures: tuple[str, ...] = ("kafka.yaml",)
    awaited_fixture: str = "statefulset/kafka"
    workloads: tuple[str, ...] = (
        "statefulset/reprise-redis",
        *(f"deployment/reprise-{name}" for name in ("producer", "materializer", "archiver", "status")),
    )
    checkout: Path = ROOT
    image_tag: str = ""

    @property
    def chart(self) -> Path:
        return self.checkout / "charts/reprise"

    @property
    def host(self) -> str:
        return f"{self.namespace}.localhost"

    @property
    def client(self) -> httpx.Client:
        """Asks through the Ingress."""
        return httpx.Client(base_url=INGRESS, headers={"Host": self.host}, timeout=15)

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 300) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *arguments, stdin=stdin, seconds=seconds)

    def get(self, *arguments: str) -> Any:
        return self.cluster.get("--namespace", self.namespace, *arguments)

    def install(self) -> None:
        """Make the namespace and its fixtures, install the chart, and return once the workloads are ready."""
        self.create_namespace()
        if self.cluster.has_folder_volumes:
            self.cluster.kubectl("apply", "-f", "-", stdin=self.fixture("volumes.yaml"))
            self.cluster.kubectl(
                "-n", "reprise-e2e-volumes", "rollout", "status", "daemonset/volumes", "--timeout=60s"
            )
        for fixture in self.fixtures:
            self.kubectl("apply", "-f", "-", stdin=self.fixture(fixture))
        self.kubectl("rollout", "status", self.awaited_fixture, "--timeout=180s")
        # Helm does not take over what somebody else, such as another test, has applied before.
        self.apply_definitions()
        self.helm("install", RELEASE, str(self.chart), *self.values)
        for workload in self.workloads:
            self.kubectl("rollout", "status", workload, "--timeout=240s")

    def apply_definitions(self) -> None:
        """Apply the chart's CustomResourceDefinitions, which Helm never upgrades."""
        taking_over = ("--server-side", "--force-conflicts", "--field-manager=helm")
        self.cluster.kubectl("apply", *taking_over, "-f", str(self.chart / "crds"))

    def upgrade(self, *values: str) -> None:
        """Upgrade the release with values besides those it was installed with."""
        self.helm("upgrade", RELEASE, str(self.chart), *self.values, *values)

    def helm(self, command: str, *arguments: str) -> str:
        return self.cluster.helm(command, *arguments, "--namespace", self.namespace)

    @property
    def values(self) -> list[str]:
        """Options for Helm that say how the platform is installed."""
        return [
            f"--values={self.checkout / 'k8s/e2e/values.yaml'}",
            *(f"--values={FIXTURES / name}" for name in self.extra_values),
            f"--set-string=global.image.tag={self.image_tag or self.tag}",
            *(f"--set-string={name}.tag={self.tag}" for name in ("redis.image", "redis.exporter.image")),
            *(
                f"--set-string={name}.ingress.host={self.host}"
                for name in ("predictor", "producer", "status")
            ),
        ]

    def run_job(self, name: str, **environment: str) -> str:
        """Start a run of a suspended CronJob, and return its log once it is complete.

        Args:
            name: The component.
            environment: Variables that this run has besides.
        """
        job = f"e2e-{name}-{time.time_ns() // 1_000_000}"
        variables = [{"name": key, "value": value} for key, value in environment.items()]

        def add_variables(container: dict[str, Any]) -> None:
            container["env"] = [*container.get("env", []), *variables]

        self.start_job(job, name, add_variables)

        def ended() -> str | None:
            conditions = self.get("job", job)["status"].get("conditions", [])
            true = {each["type"] for each in conditions if each["status"] == "True"}
            return next((kind for kind in ("Complete", "Failed") if kind in true), None)

        how = wait_until(f"the job {name} has ended", ended, _JOB_SECONDS)
        log = self.kubectl("logs", f"job/{job}", "--all-containers")
        if how == "Failed":
            raise CommandError(f"the job {name} failed:\n{log}")
        return log

    def run_jobs(self, *names: str) -> list[str]:
        """Run jobs of several components at once, and return their logs in this order."""
        with ThreadPoolExecutor(len(names)) as pool:
            return list(pool.map(self.run_job, names))

    def start_job(self, job: str, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Make a Job of a component's CronJob, its container changed; it is not tried again."""
        options = ("--dry-run=client", "--output=json")
        made = json.loads(self.kubectl("create", "job", job, f"--from=cronjob/reprise-{name}", *options))
        made["spec"]["backoffLimit"] = 0
        change(made["spec"]["template"]["spec"]["containers"][0])
        self.kubectl("create", "-f", "-", stdin=json.dumps(made))

    def limit_cpu(self, component: str, cpu: str) -> None:
        """Leave a component's only pod so much CPU, in place, as somebody might who tries something."""
        [pod] = self.pods(component)
        limits = {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}
        patch = {"spec": {"containers": [{"name": component, "resources": limits}]}}
        name = pod["metadata"]["name"]
        self.kubectl("patch", "pod", name, "--subresource=resize", "--patch", json.dumps(patch))

    def scale(self, workload: str, replicas: int) -> None:
        """Ask for so many pods of a workload, such as ``deployment/reprise-predictor``."""
        self.kubectl("scale", workload, f"--replicas={replicas}")

    def restarts(self, pod: str, container: str) -> int:
        statuses = self.get("pod", pod)["status"]["containerStatuses"]
        return sum(each["restartCount"] for each in statuses if each["name"] == container)

    def pods(self, component: str) -> list[Any]:
        """Return the component's pods that are not ending."""
        labels = f"app.kubernetes.io/component={component},app.kubernetes.io/instance={RELEASE}"
        found = self.get("pods", f"--selector={labels}")
        return [pod for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]

    def remove(self, *, wait: bool = True) -> None:
        """Delete the namespace; by default wait until it is gone, as each installation in it does before it begins."""
        options = ("--ignore-not-found", "--timeout=180s", f"--wait={str(wait).lower()}")
        self.cluster.kubectl("delete", "namespace", self.namespace, *options)

    def diagnosis(self) -> str:
        """Return what a person wants to see of a namespace where something failed."""
        return _run([str(FIXTURES / "diagnose"), self.namespace], None, 120)

    def create_namespace(self) -> None:
        """Create the namespace, which enforces the restricted Pod Security Standard."""
        levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        namespace = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": self.namespace, "labels": levels},
        }
        self.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(namespace))

    def fixture(self, name: str) -> str:
        """Return a file of ``k8s/e2e`` with this platform's tag."""
        return (FIXTURES / name).read_text().replace(":dev\n", f":{self.tag}\n")


def _run(command: Sequence[str], stdin: str | None, seconds: float) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode != 0:
        raise CommandError(f"{' '.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout
