"""A ModelRollout of two arms on the cluster, for tests that need one to be there and hold."""

from collections.abc import Sequence
from typing import Any

import httpx

from e2e.support.cluster import Platform
from e2e.support.customers import PAIRS, questions_about
from e2e.support.live_rollout import LiveRollout
from support.waiting import wait_until

_LENIENT = {
    "interval": "2s",
    "window": "30s",
    "minSamples": 20,
    "metrics": [{"type": "ErrorRate", "max": 1}],
}


def served_digest(platform: Platform) -> str:
    """Return the digest of the model that answers, once one does."""
    with platform.client as client:

        def info() -> httpx.Response | None:
            response = client.get("/model/info")
            return response if response.status_code == httpx.codes.OK else None

        return str(wait_until("a model answers", info, 60).json()["digest"])


def train_another(platform: Platform, **environment: str) -> tuple[str, str]:
    """Train once more, and return the digests of the model that answered before and of the one that does now."""
    before = served_digest(platform)
    platform.run_job("trainer", **environment)

    def other() -> str | None:
        now = served_digest(platform)
        return None if now == before else now

    return before, wait_until("another model is the latest", other, 60)


def apply_rollout(
    platform: Platform,
    name: str,
    baseline: str,
    candidate: str,
    *,
    percent: int = 50,
    salt: str | None = None,
    **analysis: Any,
) -> None:
    """Give a share of the users the only candidate, ``next``, for an hour; by default nothing fails its analysis."""
    spec: dict[str, Any] = {
        "baseline": {"digest": baseline},
        "candidates": [{"name": "next", "digest": candidate, "trafficPercent": percent}],
        "steps": [{"trafficPercent": percent, "hold": "1h"}],
        "analysis": _LENIENT | analysis,
    }
    if salt is not None:
        spec["assignment"] = {"key": "user_id", "salt": salt}
    LiveRollout(cluster=platform.cluster, namespace=platform.namespace, name=name).apply_spec(spec)


def await_both_arms(platform: Platform) -> None:
    def both() -> bool:
        return set(arms_of(platform, PAIRS[:30]).values()) == {"baseline", "next"}

    wait_until("both arms answer", both, 60, every=1)


def arms_of(platform: Platform, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the arm that answers each user, by user."""
    with platform.client as client:
        answers = (
            client.post("/predict/batch", json={"requests": questions_about(pairs)}).raise_for_status().json()
        )
    return {each["user_id"]: each["arm"] for each in answers["results"]}
