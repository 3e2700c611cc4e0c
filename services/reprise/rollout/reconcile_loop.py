"""Looks at every rollout again and again, sooner when something has happened to it."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from reprise.rollout.exceptions import ConflictError, RolloutError, StuckError
from reprise.rollout.metrics import RolloutMetrics
from reprise.rollout.reconciler import Look, Reconciler
from reprise.rollout.settings import RolloutSettings
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import StoreError

_log = get_logger(__name__)
_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 10.0
_STUCK_SECONDS = 120.0
_T = TypeVar("_T")


class Rollouts:
    """A task for each rollout, and one thread on which all of them look, one after the other.

    Args:
        reconciler: What looks.
        names: Returns the rollouts that there are.
        settings: How often.
        metrics: Where looks are counted.
        sweep_seconds: How often rollouts are looked for that nobody has told of.
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
        self._happened: dict[str, asyncio.Event] = {}
        self._sweeping: asyncio.Task[None] | None = None
        self._swept = time.monotonic()

    def wake(self, name: str) -> None:
        """Look at a rollout as soon as can be."""
        happened = self._happened.setdefault(name, asyncio.Event())
        happened.set()
        if name not in self._tasks or self._tasks[name].done():
            self._tasks[name] = _told(self._look_after(name, happened), f"rollout {name}")

    async def start(self) -> None:
        """Look at all that there are, and go on.

        Raises:
            ClusterError: The resource is not known to the API server, or may not be listed.
        """
        for name in await self._on_thread(self._names):
            self.wake(name)
        self._swept = time.monotonic()
        self._sweeping = _told(self._sweep(), "sweep")

    def check(self) -> None:
        """Return if looks are taken.

        Raises:
            StuckError: They are not, and only another process can help.
        """
        silent = time.monotonic() - self._swept
        if self._sweeping is None or self._sweeping.done():
            raise StuckError("no rollout is looked for: see the log")
        if silent > _STUCK_SECONDS:
            raise StuckError(f"no rollout has been looked for in {silent:.0f} s")

    async def stop(self) -> None:
        """Finish the look that is under way, and end."""
        tasks = [*self._tasks.values(), *([self._sweeping] if self._sweeping else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._thread.shutdown(wait=True)

    async def _look_after(self, name: str, happened: asyncio.Event) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            happened.clear()
            try:
                found = await self._look(name)
            except ConflictError:
                # Somebody else wrote; what they wrote is what to look at.
                self._metrics.reconciliations.labels("conflict").inc()
                continue
            except (RolloutError, StoreError) as error:
                self._metrics.reconciliations.labels("failed").inc()
                _log.warning("look_failed", rollout=name, reason=str(error), again_in_seconds=backoff)
                await asyncio.sleep(backoff)
                backoff = min(2 * backoff, _LONGEST_BACKOFF)
                continue
            backoff = _FIRST_BACKOFF
            if found is Look.GONE:
                return
            await self._pause(found, happened)

    async def _look(self, name: str) -> Look:
        began = time.perf_counter()
        try:
            return await self._on_thread(lambda: self._reconciler.reconcile(self._settings.namespace, name))
        finally:
            self._metrics.seconds.observe(time.perf_counter() - began)

    async def _pause(self, found: Look, happened: asyncio.Event) -> None:
        settings = self._settings
        pause = settings.settled_seconds if found is Look.SETTLED else settings.unsettled_seconds
        # wait_for of Python 3.11 loses a cancellation that comes together with what it waits for.
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await happened.wait()

    async def _sweep(self) -> None:
        while True:
            try:
                await self._on_thread(self._reconciler.sweep)
                for name in await self._on_thread(self._names):
                    if name not in self._tasks or self._tasks[name].done():
                        self.wake(name)
            except (RolloutError, StoreError) as error:
                _log.warning("sweep_failed", reason=str(error))
            self._swept = time.monotonic()
            await asyncio.sleep(self._sweep_seconds)

    async def _on_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _told(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Start a task whose end by an error that nobody expected is logged.

    The sweep takes up a rollout again whose task has ended; that the sweep itself has ended, ``check`` says.
    """

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("work_ended", work=name, exc_info=error)

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(ended)
    return task
