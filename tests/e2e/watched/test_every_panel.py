"""Every panel shows data of the running platform, with the labels that Prometheus' operator gives it.

It comes before the incidents (files run by their names), of which some leave features that history does not have.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from dashboards.pages import DASHBOARDS
from support.cluster import Platform, wait_until
from support.customers import PAIRS, Customers
from support.observed_platform import Seen, look_at
from support.watched_cluster import WatchedPlatform

pytestmark = pytest.mark.e2e

OF_KUBERNETES = {
    (page.title, panel.title) for page in DASHBOARDS for panel in page.panels if panel.needs == "kubernetes"
}


@pytest.fixture
def two_arms(watched_platform: WatchedPlatform, customers: Customers) -> Iterator[None]:
    """A rollout with two arms, whose users' outcomes are known and pushed."""
    platform = watched_platform.platform
    with platform.client as client:
        before = _digest(client)
        platform.run_job("trainer", 300, TRAINER_SEED="8")
        after = wait_until("another model is the latest", lambda: _other(client, before), 60)
        _apply(platform, before, after)
        try:
            wait_until("both arms answer", lambda: _arms(client) == {"baseline", "next"}, 60, every=1)
            sent = customers.accepted
            wait_until("some have bought since", lambda: customers.accepted > sent + 300, 90)
            platform.run_job("outcomes", 240)
            yield
        finally:
            platform.kubectl("delete", "modelrollout", "panels", "--timeout=30s")


@pytest.mark.usefixtures("two_arms")
def test_every_panel_has_data(watched_platform: WatchedPlatform) -> None:
    namespace = watched_platform.platform.namespace

    def panels() -> list[Seen]:
        return look_at(watched_platform.prometheus, {"kafka": "needs Kafka"}, namespace)[0]

    def without_problem() -> list[Seen] | None:
        found = panels()
        return found if all(seen.values for seen in found if not seen.state) else None

    try:
        found = wait_until("every panel has data", without_problem, 60, every=2)
    except TimeoutError:
        found = panels()
    for seen in found:
        print(
            f"{seen.page}: {seen.title}: {seen.state or seen.problem or dict(list(seen.values.items())[:3])}"
        )
    assert [(seen.page, seen.title, seen.problem) for seen in found if seen.problem] == []
    assert {(seen.page, seen.title) for seen in found if seen.values} >= OF_KUBERNETES
    assert {seen.state for seen in found} <= {"", "needs Kafka"}


def _digest(client: httpx.Client) -> str:
    return str(client.get("/model/info").raise_for_status().json()["digest"])


def _other(client: httpx.Client, digest: str) -> str | None:
    now = _digest(client)
    return None if now == digest else now


def _apply(platform: Platform, baseline: str, candidate: str) -> None:
    """Half of the users have the one model, half the other."""
    spec: dict[str, Any] = {
        "baseline": {"digest": baseline},
        "candidates": [{"name": "next", "digest": candidate, "trafficPercent": 50}],
        "steps": [{"trafficPercent": 50, "hold": "1h"}],
        "analysis": {
            "interval": "2s",
            "window": "30s",
            "minSamples": 20,
            "metrics": [{"type": "ErrorRate", "max": 0.5}],
        },
    }
    rollout = {
        "apiVersion": "reprise.dev/v1alpha1",
        "kind": "ModelRollout",
        "metadata": {"name": "panels"},
        "spec": spec,
    }
    platform.kubectl("apply", "-f", "-", stdin=json.dumps(rollout))


def _arms(client: httpx.Client) -> set[str]:
    asked = [{"user_id": user, "product_id": product} for user, product in PAIRS[:30]]
    answers = client.post("/predict/batch", json={"requests": asked}).raise_for_status().json()
    return {each["arm"] for each in answers["results"]}
