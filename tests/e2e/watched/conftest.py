"""The platform on the cluster, watched by a Prometheus whose minute is a second, with customers all the while."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from e2e.conftest import NAMESPACE, TAG, diagnosed
from e2e.support.cluster import ROOT, Cluster, Platform
from e2e.support.customers import PAIRS, Customers
from e2e.support.on_call import OnCall
from e2e.support.watched_cluster import WatchedPlatform, watched


@pytest.fixture(scope="session")
def watched_platform(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[WatchedPlatform]:
    """The platform in a namespace of its own, installed once, without a model.

    REPRISE_E2E_KEEP=1 leaves it there, and REPRISE_E2E_REUSE=1 takes the one that was left, model and all.
    """
    compiled = subprocess.run([ROOT / ".ci/kube-state-metrics"], capture_output=True, text=True, check=False)
    if compiled.returncode:
        pytest.skip(compiled.stderr.strip())
    platform = Platform(cluster, f"{NAMESPACE}-watched", TAG, ("watched.yaml",))
    reuse = os.environ.get("REPRISE_E2E_REUSE") == "1"
    if not reuse:
        platform.remove()
    with diagnosed(platform, request), watched(platform, install=not reuse) as it:
        yield it


@pytest.fixture(scope="session")
def customers(watched_platform: WatchedPlatform) -> Iterator[Customers]:
    """Who asks and buys, from before the first model to the end."""
    with Customers(lambda: watched_platform.platform.client, PAIRS) as customers:
        customers.sending = os.environ.get("REPRISE_E2E_REUSE") == "1"
        yield customers


@pytest.fixture
def on_call(
    watched_platform: WatchedPlatform, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], OnCall]]:
    """Opens an incident by the runbook's section; what was seen is kept in build/incidents."""
    opened: list[OnCall] = []

    def open_incident(section: str) -> OnCall:
        opened.append(OnCall(watched_platform, section))
        return opened[-1]

    yield open_incident
    for number, incident in enumerate(opened):
        incident.ends(request.node.name.removeprefix("test_") + (f"-{number + 1}" if number else ""))
