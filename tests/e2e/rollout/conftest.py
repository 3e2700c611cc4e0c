"""The operator as a process of this machine, on the API server of the cluster, with pretended predictors."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
from redis import Redis
from reprise_routing import RolloutEvidence, RoutingDocument, RoutingReport, document_key, evidence_key
from support.cluster import ROOT, Cluster, wait_until
from support.predictor import published
from support.pretend_predictor import PretendPredictor
from support.prometheus import MISSING, prometheus_path, running_prometheus
from support.redis import RedisServer, free_port, redis_server_path, running_redis
from support.served_bundles import bundle_files
from support.serving import Serving, serving

NAMESPACE = "reprise-rollout-e2e"
NAME = "repurchase"


class Predictor(Protocol):
    """What a stage knows of a predictor."""

    @property
    def port(self) -> int:
        """Where it answers about itself."""

    @property
    def report(self) -> RoutingReport:
        """What it has applied."""


@dataclass
class Stage:
    """All that a rollout is played on.

    Attributes:
        cluster: The API server.
        redis: Where the document is.
        predictors: Who apply it.
        prometheus: Who measures them.
        behaviours: By digest, what is wrong with a bundle; a test may add to it.
        base: Digest of a test's baseline.
        new: Digest of a test's candidate.
        models: The model store of real predictors.
    """

    cluster: Cluster
    server: RedisServer
    redis: Redis
    predictors: Sequence[Predictor]
    prometheus: str
    behaviours: dict[str, str]
    log: Path
    namespace: str = NAMESPACE
    base: str = ""
    new: str = ""
    models: Path = Path()
    _operator: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    kills: int = 0

    @property
    def is_running(self) -> bool:
        """Whether the operator is at work."""
        return self._operator is not None

    def start_operator(self, *options: str) -> None:
        """Start the operator, and return once it is at work."""
        liveness = free_port()
        environment = os.environ | {
            "ROLLOUT_NAMESPACE": self.namespace,
            "ROLLOUT_PROMETHEUS_URL": self.prometheus,
            "ROLLOUT_METRICS_HOST": "127.0.0.1",
            "ROLLOUT_METRICS_PORT": str(free_port()),
            "ROLLOUT_LIVENESS_PORT": str(liveness),
            "REDIS_HOST": self.server.host,
            "REDIS_PORT": str(self.server.port),
            "LOG_JSON": "false",
        }
        with self.log.open("ab") as log:
            self._operator = subprocess.Popen(
                [sys.executable, "-m", "reprise_rollout", *options],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until("the operator is at work", lambda: _is_alive(liveness), 60, every=0.1)

    def kill_operator(self) -> None:
        """End the operator without giving it time for anything."""
        assert self._operator is not None
        self._operator.kill()
        self._operator.wait(10)
        self._operator = None
        self.kills += 1

    def stop_operator(self) -> int:
        """Ask the operator to end, and return its exit code."""
        if self._operator is None:
            return 0
        self._operator.send_signal(signal.SIGTERM)
        code = self._operator.wait(20)
        self._operator = None
        return code

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Return what kubectl prints about the namespace."""
        return self.cluster.kubectl("--namespace", self.namespace, *arguments, stdin=stdin, seconds=60)

    def apply(self, **spec: Any) -> None:
        """Apply a rollout that takes seconds where another takes hours."""
        content = {
            "baseline": {"digest": self.base},
            "candidates": [{"name": "forest", "digest": self.new, "trafficPercent": 50}],
            "steps": [{"trafficPercent": 10, "hold": "4s"}, {"trafficPercent": 30, "hold": "4s"}],
            "analysis": {
                "interval": "2s",
                "window": "6s",
                "failureLimit": 2,
                "minSamples": 30,
                "metrics": [
                    {"type": "ErrorRate", "max": 0.05},
                    {"type": "LatencyP99", "max": 0.5},
                    {"type": "ScoreDistance", "max": 0.25},
                    {"type": "SampleRatio"},
                ],
            },
        } | spec
        resource = {
            "apiVersion": "reprise.dev/v1alpha1",
            "kind": "ModelRollout",
            "metadata": {"name": NAME, "namespace": self.namespace},
            "spec": content,
        }
        self.kubectl("apply", "-f", "-", stdin=json.dumps(resource))

    def annotate(self, **annotations: str) -> None:
        """Ask the operator for something."""
        named = [f"reprise.dev/{name}={value}" for name, value in annotations.items()]
        self.kubectl("annotate", "modelrollout", NAME, *named)

    @property
    def status(self) -> dict[str, Any]:
        """The rollout's status."""
        found: dict[str, Any] = self.cluster.get("--namespace", self.namespace, "modelrollout", NAME).get(
            "status", {}
        )
        return found

    @property
    def document(self) -> RoutingDocument | None:
        """What is published."""
        data: Any = self.redis.get(document_key("reprise"))
        return None if data is None else RoutingDocument.from_bytes(data)

    def say(self, evidence: RolloutEvidence) -> None:
        """Say what the users' outcomes are."""
        self.redis.set(evidence_key("reprise"), evidence.to_bytes())

    def wait_for_phase(self, phase: str, seconds: float) -> dict[str, Any]:
        """Return the candidate's status once it is in a phase."""

        def probe() -> dict[str, Any] | None:
            candidates = self.status.get("candidates", [])
            return candidates[0] if candidates and candidates[0]["phase"] == phase else None

        return wait_until(f"the candidate is {phase}", probe, seconds, every=0.2)

    def wait_for_weight(self, weight: int, seconds: float) -> None:
        """Wait until every predictor has applied a share of the candidate."""

        def probe() -> bool:
            reports = [predictor.report for predictor in self.predictors]
            return all(any(arm.name == "forest" and arm.weight == weight for arm in r.arms) for r in reports)

        wait_until(f"all predictors give {weight} to the candidate", probe, seconds, every=0.05)

    def events(self) -> list[tuple[str, str]]:
        """The reasons and messages of the events on the rollout, in order."""
        found = self.cluster.get("--namespace", self.namespace, "events.events.k8s.io")["items"]
        ours = [event for event in found if event["regarding"]["name"] == NAME]
        return [(e["reason"], e["note"]) for e in sorted(ours, key=lambda event: event["eventTime"])]

    def add_pods(self) -> None:
        """Make a pod for each predictor that no node runs, and say of it that it is ready at this machine."""
        for number, predictor in enumerate(self.predictors):
            name = f"predictor-{number}"
            self.kubectl("apply", "-f", "-", stdin=json.dumps(_pod(name, predictor.port)))
            status = {
                "phase": "Running",
                "podIP": "127.0.0.1",
                "podIPs": [{"ip": "127.0.0.1"}],
                "conditions": [{"type": "Ready", "status": "True"}],
            }
            patch = json.dumps({"status": status})
            self.kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "--patch", patch)


@pytest.fixture(scope="session")
def rollout_definition(cluster: Cluster) -> Cluster:
    """The cluster, with the definition of the resource."""
    cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "charts/reprise/crds/modelrollouts.yaml"))
    return cluster


@contextmanager
def fresh_namespace(cluster: Cluster, name: str) -> Iterator[None]:
    """A namespace of its own, deleted in the end."""
    cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=60s")
    cluster.kubectl("create", "namespace", name)
    try:
        yield
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def session_stage(
    rollout_definition: Cluster, session_redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Two predictors, a Prometheus and an operator, for all tests."""
    if prometheus_path() is None:
        pytest.skip(MISSING)
    directory = tmp_path_factory.mktemp("rollout")
    redis = Redis(host=session_redis_server.host, port=session_redis_server.port)
    behaviours: dict[str, str] = {}
    predictors = [PretendPredictor(redis, "reprise", behaviours, rate=120) for _ in range(2)]
    for predictor in predictors:
        predictor.start()
    ports = [predictor.port for predictor in predictors]
    with (
        fresh_namespace(rollout_definition, NAMESPACE),
        running_prometheus(directory, ports) as url,
    ):
        log = directory / "operator.log"
        stage = Stage(rollout_definition, session_redis_server, redis, predictors, url, behaviours, log)
        stage.add_pods()
        try:
            yield stage
        finally:
            stage.stop_operator()
            for predictor in predictors:
                predictor.stop()
            redis.close()


class ServedPredictor:
    """A real predictor, as a process of this machine."""

    def __init__(self, process: Serving) -> None:
        self.http = process.http

    @property
    def port(self) -> int:
        """Where it answers about itself, and everybody."""
        return self.http.base_url.port or 0

    @property
    def report(self) -> RoutingReport:
        """What it has applied."""
        return RoutingReport.from_bytes(self.http.get("/routing").content)


@pytest.fixture(scope="session")
def served_stage(rollout_definition: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Two real predictors, with a Redis and a model store of their own."""
    if prometheus_path() is None or redis_server_path() is None:
        pytest.skip("prometheus or redis-server is not installed")
    directory = tmp_path_factory.mktemp("served")
    models = directory / "models"
    # A bias that puts no model's answer to an amount of nothing onto the edge between two bins of scores.
    base = published(models, bundle_files(weights={"request_amount": 0.01}, bias=0.1))
    with ExitStack() as stack:
        server = stack.enter_context(running_redis())
        environment = {"REDIS_HOST": server.host, "REDIS_PORT": str(server.port), "MODEL_STORE": str(models)}
        # A machine that runs a cluster beside all this is late at times, which is not what is tested.
        environment |= {"PREDICTOR_REDIS_DEADLINE_SECONDS": "5", "PREDICTOR_DEADLINE_SECONDS": "10"}
        predictors = []
        for number in range(2):
            folder = directory / f"predictor-{number}"
            folder.mkdir()
            process = stack.enter_context(serving(folder, PREDICTOR_ACCESS_LOG="off", **environment))
            process.wait_until_ready(120)
            predictors.append(ServedPredictor(process))
        url = stack.enter_context(running_prometheus(directory, [predictor.port for predictor in predictors]))
        redis = stack.enter_context(server.client())
        namespace = f"{NAMESPACE}-served"
        stack.enter_context(fresh_namespace(rollout_definition, namespace))
        stage = Stage(
            rollout_definition,
            server,
            redis,
            predictors,
            url,
            {},
            directory / "operator.log",
            namespace,
            base,
        )
        stage.models = models
        stage.add_pods()
        stage.start_operator()
        stack.callback(stage.stop_operator)
        yield stage


@pytest.fixture
def stage(session_stage: Stage, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The stage with the operator at work, models of its own, and nothing applied."""
    stage = session_stage
    stage.base, stage.new = (_digest(f"{request.node.nodeid} {part}") for part in ("base", "new"))
    stage.redis.flushall()
    stage.log.write_text("")
    if not stage.is_running:
        stage.start_operator()
    yield stage
    stage.kubectl("delete", "modelrollouts", "--all", "--timeout=20s")
    stage.kubectl("delete", "events.events.k8s.io", "--all", "--wait=false")
    print(stage.log.read_text()[-4000:])


def _digest(of: str) -> str:
    return f"sha256:{hashlib.sha256(of.encode()).hexdigest()}"


def _is_alive(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _pod(name: str, port: int) -> dict[str, Any]:
    container = {
        "name": "predictor",
        "image": "pretended",
        "ports": [{"name": "metrics", "containerPort": port}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/component": "predictor"}},
        "spec": {"schedulerName": "nobody", "containers": [container]},
    }
