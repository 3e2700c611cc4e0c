"""When rollouts are looked at, and what happens when a look goes wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from reprise.rollout.clients.kubernetes import Resource
from reprise.rollout.exceptions import ClusterError, StuckError
from reprise.rollout.metrics import RolloutMetrics
from reprise.rollout.reconcile_loop import ReconcileLoop
from reprise.rollout.reconciler import Reconciler
from reprise.rollout.settings import RolloutSettings

MODEL = Resource("shop", "model", "uid", "1", 1, {}, False, {}, {})


class Looking:
    """Stands for the reconciler; looks and sweeps go as a test says, and are then good."""

    def __init__(self, looks: list[Exception] | None = None, sweeps: list[Exception] | None = None) -> None:
        self.looks = looks or []
        self.sweeps = sweeps or []
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


def _play(looking: Looking, play: Callable[[ReconcileLoop], Awaitable[None]]) -> None:
    settings = RolloutSettings.load(settled_seconds=0.01, unsettled_seconds=0.01)

    async def played() -> None:
        reconciler = cast(Reconciler, cast(Any, looking))
        rollouts = ReconcileLoop(reconciler, settings, RolloutMetrics(CollectorRegistry()))
        await rollouts.start()
        try:
            await play(rollouts)
        finally:
            await rollouts.stop()

    asyncio.run(played())


async def _until(probe: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not probe():
            await asyncio.sleep(0.01)


def _is_stuck(rollouts: ReconcileLoop) -> bool:
    try:
        rollouts.check()
    except StuckError:
        return True
    return False


def test_a_rollout_is_looked_at_again_and_again() -> None:
    looking = Looking()

    async def play(rollouts: ReconcileLoop) -> None:
        await _until(lambda: looking.looked[:3] == ["model"] * 3)
        rollouts.check()

    _play(looking, play)


def test_a_look_that_ends_in_an_error_nobody_expected_is_not_the_last() -> None:
    looking = Looking(looks=[KeyError("metadata")])

    async def play(rollouts: ReconcileLoop) -> None:
        await _until(lambda: len(looking.looked) >= 3)
        rollouts.check()

    _play(looking, play)


def test_an_api_server_that_is_away_is_waited_for() -> None:
    looking = Looking(looks=[ClusterError("away")], sweeps=[ClusterError("away")] * 3)

    async def play(rollouts: ReconcileLoop) -> None:
        await _until(lambda: len(looking.looked) >= 2 and not looking.sweeps)
        rollouts.check()

    _play(looking, play)


def test_the_probe_fails_once_nobody_looks_for_rollouts_any_more() -> None:
    async def play(rollouts: ReconcileLoop) -> None:
        await _until(lambda: _is_stuck(rollouts))
        with pytest.raises(StuckError, match="see the log"):
            rollouts.check()

    _play(Looking(sweeps=[KeyError("items")]), play)
