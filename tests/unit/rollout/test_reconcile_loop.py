"""When rollouts are looked at, what happens when a look goes wrong, and what the probe says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import pytest
from prometheus_client import CollectorRegistry

from reprise.http.server import metrics_server
from reprise.rollout.clients.kubernetes import Resource
from reprise.rollout.exceptions import ClusterError
from reprise.rollout.metrics import RolloutMetrics
from reprise.rollout.reconcile_loop import ReconcileLoop
from reprise.rollout.runner import liveness_router
from reprise.rollout.settings import RolloutSettings

MODEL = Resource("shop", "model", "uid", "1", 1, {}, False, {}, {})
SETTINGS = RolloutSettings.load(api_host="127.0.0.1", settled_seconds=0.01, unsettled_seconds=0.01)


class Looking:
    """Stands for the reconciler; looks and sweeps go as a test says, and are then good."""

    def __init__(self, looks: list[Exception], sweeps: list[Exception]) -> None:
        self.looks = looks
        self.sweeps = sweeps
        self.looked: list[str] = []

    def rollouts(self) -> tuple[Resource, ...]:
        return (MODEL,)

    def release_deleted(self, rollouts: tuple[Resource, ...]) -> None:
        if self.sweeps:
            raise self.sweeps.pop(0)

    def reconcile(self, resource: Resource) -> bool:
        self.looked.append(resource.name)
        if self.looks:
            raise self.looks.pop(0)
        return True


@asynccontextmanager
async def running(looking: Looking) -> AsyncIterator[ReconcileLoop]:
    loop = ReconcileLoop(cast(Any, looking), SETTINGS, RolloutMetrics(CollectorRegistry()))
    await loop.start()
    try:
        yield loop
    finally:
        await loop.stop()


async def until(probe: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not probe():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("looks", "sweeps"),
    [([], []), ([KeyError("metadata")], []), ([ClusterError("away")], [ClusterError("away")] * 3)],
    ids=["without errors", "after an error nobody expected", "after the API server was away"],
)
async def test_a_rollout_is_looked_at_again_and_again(
    looks: list[Exception], sweeps: list[Exception]
) -> None:
    looking = Looking(list(looks), list(sweeps))
    async with running(looking) as loop:
        await until(lambda: looking.looked[:3] == ["model"] * 3 and not looking.sweeps)
        assert loop.problem is None


async def test_the_probe_fails_once_nobody_looks_for_rollouts_any_more() -> None:
    metrics = RolloutMetrics(CollectorRegistry())
    looking = Looking([], [])
    async with (
        running(looking) as loop,
        metrics_server(metrics.registry, SETTINGS, 0, liveness_router(loop)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert "reprise_rollout_reconciliation_seconds" in (await client.get("/metrics")).text
        looking.sweeps.append(KeyError("items"))
        await until(lambda: loop.problem == "the reconcile loop has ended: see the log")
        stuck = await client.get("/healthz")
        assert (stuck.status_code, stuck.json()["status"]) == (503, 503)
