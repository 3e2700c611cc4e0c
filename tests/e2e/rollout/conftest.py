"""The operator as a process of this machine, on the API server of the cluster, with pretended predictors."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from e2e.support.cluster import ROOT, Cluster
from e2e.support.live_rollout import LiveRollout
from reprise.routing import RolloutEvidence, RoutingDocument, document_key, evidence_key
from support.pretend_predictor import PretendPredictor
from support.prometheus import MISSING, running_prometheus
from support.redis import RedisServer, free_port
from support.waiting import wait_until

NAMESPACE = "reprise-rollout-e2e"


@dataclass(kw_only=True)
class Stage(LiveRollout):
    """All that a rollout is played on; ``behaviours`` say by digest what is wrong with a bundle."""

    server: RedisServer
    redis: Redis
    predictors: Sequence[PretendPredictor]
    prometheus: str
    behaviours: dict[str, str]
    log: Path
    base: str = ""
    new: str = ""
    _operator: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    kills: int = 0

    @property
    def is_running(self) -> bool:
        return self._operator is not None

    def start_operator(self, *options: str) -> None:
        """Start the operator, and return once it is at work."""
        port = free_port()
        environment = os.environ | {
            "ROLLOUT_NAMESPACE": self.namespace,
            "ROLLOUT_PROMETHEUS_URL": self.prometheus,
            "API_HOST": "127.0.0.1",
            "API_PORT": str(port),
            "REDIS_HOST": self.server.host,
            "REDIS_PORT": str(self.server.port),
            "LOG_JSON": "false",
        }
        with self.log.open("ab") as log:
            self._operator = subprocess.Popen(
                [sys.executable, "-m", "reprise.rollout", *options],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until("the operator is at work", lambda: _is_alive(port), 60, every=0.1)

    def kill_operator(self) -> None:
        assert self._operator is not None
        self._operator.kill()
        self._operator.wait(10)
        self._operator = None
        self.kills += 1

    def stop_operator(self) -> int:
        if self._operator is None:
            return 0
        self._operator.send_signal(signal.SIGTERM)
        code = self._operator.wait(20)
        self._operator = None
        return code

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
        self.apply_spec(content)

    @property
    def document(self) -> RoutingDocument | None:
        data: Any = self.redis.get(document_key("reprise"))
        return None if data is None else RoutingDocument.from_bytes(data)

    def say(self, evidence: RolloutEvidence) -> None:
        """Say what the users' outcomes are."""
        self.redis.set(evidence_key("reprise"), evidence.to_bytes())

    def wait_for_weight(self, weight: int, seconds: float) -> None:
        """Wait until every predictor has applied a share of the candidate."""

        def probe() -> bool:
            reports = [predictor.report for predictor in self.predictors]
            return all(any(arm.name == "forest" and arm.weight == weight for arm in r.arms) for r in reports)

        wait_until(f"all predictors give {weight} to the candidate", probe, seconds, every=0.05)

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
    if shutil.which("prometheus") is None:
        pytest.skip(MISSING)
    directory = tmp_path_factory.mktemp("rollout")
    redis = Redis(host=session_redis_server.host, port=session_redis_server.port)
    behaviours: dict[str, str] = {}
    predictors = [PretendPredictor(redis, "reprise", behaviours, rate=120, seed=seed) for seed in range(2)]
    for predictor in predictors:
        predictor.start()
    ports = [predictor.port for predictor in predictors]
    with (
        fresh_namespace(rollout_definition, NAMESPACE),
        running_prometheus(directory, ports) as url,
    ):
        stage = Stage(
            cluster=rollout_definition,
            namespace=NAMESPACE,
            server=session_redis_server,
            redis=redis,
            predictors=predictors,
            prometheus=url,
            behaviours=behaviours,
            log=directory / "operator.log",
        )
        stage.add_pods()
        try:
            yield stage
        finally:
            stage.stop_operator()
            for predictor in predictors:
                predictor.stop()
            redis.close()


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
