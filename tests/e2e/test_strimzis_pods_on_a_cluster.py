"""Strimzi's pods are admitted by a namespace that enforces the restricted standard; only accounts are created."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.conftest import NAMESPACE
from e2e.support.cluster import Cluster, CommandError, Platform
from support.chart import render
from support.strimzi import Provider, strimzi_pods

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def platform(cluster: Cluster) -> Iterator[Platform]:
    """A namespace that enforces the restricted standard, without a release."""
    found = Platform(cluster, f"{NAMESPACE}-strimzi", "dev")
    found.remove()
    found.create_namespace()
    yield found
    found.remove()


def dry_run(platform: Platform, pods: list[dict[str, Any]]) -> str:
    """Send pods through admission; their accounts have to exist."""
    accounts = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        for name in sorted({pod["spec"]["serviceAccountName"] for pod in pods})
    ]
    platform.kubectl("apply", "-f", "-", stdin=listed(accounts))
    return platform.kubectl("create", "--dry-run=server", "-f", "-", stdin=listed(pods))


def listed(items: list[dict[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


@pytest.mark.parametrize("provider", ["baseline", "restricted"])
def test_every_pod_of_strimzi_is_admitted(platform: Platform, provider: Provider) -> None:
    pods = strimzi_pods(render("-f", "production", "--set=kafka.strimzi.controllers.replicas=3"), provider)
    said = dry_run(platform, pods)
    assert {line.split()[0] for line in said.splitlines()} == {
        f"pod/{pod['metadata']['name']}" for pod in pods
    }


def test_a_pod_without_the_charts_security_contexts_is_refused(platform: Platform) -> None:
    for pod in strimzi_pods(render("-f", "production"), "baseline", templates=False):
        with pytest.raises(CommandError, match="violates PodSecurity"):
            dry_run(platform, [pod])
