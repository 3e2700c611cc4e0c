"""Reconciles every rollout periodically, and at once when its resource changes."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from reprise.rollout.exceptions import ConflictError, StuckError
from reprise.rollout.metrics import RolloutMetrics
from reprise.rollout.reconciler import Reconciler, ReconcileResult
from reprise.rollout.settings import RolloutSettings
from reprise.runtime.exceptions import RepriseError
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)
_FIRST_BACKOFF = 0.5
_MAX_BACKOFF = 10.0
_STUCK_SECONDS = 120.0
_T = TypeVar("_T")


class ReconcileLoop:
    """One task for each rollout, and one thread that reconciles them one after another.

    Args:
        reconciler: Reconciles one rollout.
        names: Returns the names of all rollouts.
        settings: The intervals.
        metrics: Counts reconciliations.
        sweep_seconds: Interval of the search for new and deleted rollouts, seconds.
    """

    def __init__(
        self,
        reconciler: Reconciler,
        names: Callable[[], tuple[str, ...]],
        settings: RolloutSettings,
        metrics: RolloutMetrics,
        sweep_seconds: float = 5.0,
    ) -> None:
        self._reconciler = reconciler
        self._names = names
        self._settings = settings
        self._metrics = metrics
        self._sweep_seconds = sweep_seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reconciler")
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._swept = time.monotonic()

    def wake(self, name: str) -> None:
        """Reconcile a rollout as soon as possible."""
        changed = self._changed.setdefault(name, asyncio.Event())
        changed.set()
        if name not in self._tasks or self._tasks[name].done():
            self._tasks[name] = _supervised(self._reconcile_forever(name, changed), f"rollout {name}")

    async def start(self) -> None:
        """Start to reconcile all rollouts.

        Raises:
            ClusterError: The API server does not know the resource, or forbids listing it.
        """
        for name in await self._on_thread(self._names):
            self.wake(name)
        self._swept = time.monotonic()
        self._sweeper = _supervised(self._sweep_forever(), "sweep")

    def check(self) -> None:
        """Return if the loop makes progress.

        Raises:
            StuckError: It makes none, and the process has to be restarted.
        """
        silent = time.monotonic() - self._swept
        if self._sweeper is None or self._sweeper.done():
            raise StuckError("the sweep has ended: see the log")
        if silent > _STUCK_SECONDS:
            raise StuckError(f"no sweep for {silent:.0f} s")

    async def stop(self) -> None:
        """Finish the current reconciliation, and stop."""
        tasks = [*self._tasks.values(), *([self._sweeper] if self._sweeper else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._thread.shutdown(wait=True)

    async def _reconcile_forever(self, name: str, changed: asyncio.Event) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            changed.clear()
            try:
                result = await self._reconcile(name)
            except ConflictError:
                # Another client wrote the resource: reconcile what it wrote.
                self._metrics.reconciliations.labels("conflict").inc()
                continue
            except RepriseError as error:
                self._metrics.reconciliations.labels("failed").inc()
                _log.warning("look_failed", rollout=name, reason=str(error), again_in_seconds=backoff)
                await asyncio.sleep(backoff)
                backoff = min(2 * backoff, _MAX_BACKOFF)
                continue
            backoff = _FIRST_BACKOFF
            if result is ReconcileResult.GONE:
                return
            settled = result is ReconcileResult.SETTLED
            pause = self._settings.settled_seconds if settled else self._settings.unsettled_seconds
            # wait_for of Python 3.11 loses a cancellation that coincides with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await changed.wait()

    async def _reconcile(self, name: str) -> ReconcileResult:
        began = time.perf_counter()
        try:
            return await self._on_thread(lambda: self._reconciler.reconcile(self._settings.namespace, name))
        finally:
            self._metrics.seconds.observe(time.perf_counter() - began)

    async def _sweep_forever(self) -> None:
        while True:
            try:
                await self._on_thread(self._reconciler.sweep)
                for name in await self._on_thread(self._names):
                    if name not in self._tasks or self._tasks[name].done():
                        self.wake(name)
            except RepriseError as error:
                _log.warning("sweep_failed", reason=str(error))
            self._swept = time.monotonic()
            await asyncio.sleep(self._sweep_seconds)

    async def _on_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _supervised(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Start a task that logs an unexpected error; the sweep restarts a rollout's task, the liveness probe the sweep."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("work_ended", work=name, exc_info=error)

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(ended)
    return task
