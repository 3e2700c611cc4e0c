"""Reconciles every rollout periodically, and at once when a resource changes."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from reprise.rollout.clients.kubernetes import Resource
from reprise.rollout.exceptions import ConflictError
from reprise.rollout.metrics import RolloutMetrics
from reprise.rollout.reconciler import Reconciler
from reprise.rollout.settings import RolloutSettings
from reprise.runtime.exceptions import RepriseError
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)
_FIRST_BACKOFF = 0.5
_MAX_BACKOFF = 10.0
_STUCK_SECONDS = 120.0
_T = TypeVar("_T")


class ReconcileLoop:
    """A task that reconciles the rollouts one after another, on a thread of its own."""

    def __init__(self, reconciler: Reconciler, settings: RolloutSettings, metrics: RolloutMetrics) -> None:
        self._reconciler = reconciler
        self._settings = settings
        self._metrics = metrics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reconciler")
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._passed = time.monotonic()
        self._backoff = _FIRST_BACKOFF

    def wake(self) -> None:
        """Reconcile as soon as possible."""
        self._changed.set()

    async def start(self) -> None:
        """Start to reconcile all rollouts.

        Raises:
            ClusterError: The API server does not know the resource, or forbids listing it.
        """
        await self._on_thread(self._reconciler.rollouts)
        self._passed = time.monotonic()
        self._task = asyncio.create_task(self._reconcile_forever())
        self._task.add_done_callback(_log_error)

    @property
    def problem(self) -> str | None:
        """Why the loop makes no progress, so that the process has to be restarted; ``None`` if it makes some."""
        silent = time.monotonic() - self._passed
        if self._task is None or self._task.done():
            return "the reconcile loop has ended: see the log"
        return f"no reconciliation for {silent:.0f} s" if silent > _STUCK_SECONDS else None

    async def stop(self) -> None:
        """Finish the current reconciliation, and stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=True)

    async def _reconcile_forever(self) -> None:
        while True:
            self._changed.clear()
            pause, failed = await self._reconcile_all()
            self._backoff = min(2 * self._backoff, _MAX_BACKOFF) if failed else _FIRST_BACKOFF
            self._passed = time.monotonic()
            # wait_for of Python 3.11 loses a cancellation that coincides with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()

    async def _reconcile_all(self) -> tuple[float, bool]:
        """Return the seconds to the next pass, and whether something failed."""
        try:
            rollouts = await self._on_thread(self._reconciler.rollouts)
        except RepriseError as error:
            _log.warning("sweep_failed", reason=str(error))
            return self._backoff, True
        release_failed = False
        try:
            await self._on_thread(partial(self._reconciler.release_deleted, rollouts))
        except RepriseError as error:
            _log.warning("sweep_failed", reason=str(error))
            release_failed = True
        passes = [self._on_thread(partial(self._reconcile, rollout)) for rollout in rollouts]
        # An error of one rollout must not keep the others from being reconciled.
        results = await asyncio.gather(*passes, return_exceptions=True)
        pauses = [self._pause_after(*pair) for pair in zip(rollouts, results, strict=True)]
        failed = any(isinstance(r, BaseException) and not isinstance(r, ConflictError) for r in results)
        return min(pauses, default=self._settings.settled_seconds), failed or release_failed

    def _reconcile(self, rollout: Resource) -> bool:
        try:
            with self._metrics.seconds.time():
                return self._reconciler.reconcile(rollout)
        finally:
            self._passed = time.monotonic()

    def _pause_after(self, rollout: Resource, result: bool | BaseException) -> float:
        """Count and log a failure, and return the seconds until the rollout has to be reconciled again."""
        if isinstance(result, bool):
            return self._settings.settled_seconds if result else self._settings.unsettled_seconds
        if isinstance(result, ConflictError):
            # Another client wrote the resource: reconcile what it wrote.
            self._metrics.reconciliations.labels("conflict").inc()
            return 0.0
        self._metrics.reconciliations.labels("failed").inc()
        if isinstance(result, RepriseError):
            reason = str(result)
            _log.warning("look_failed", rollout=rollout.key, reason=reason, again_in_seconds=self._backoff)
        else:
            _log.critical("work_ended", work=f"rollout {rollout.name}", exc_info=result)
        return self._backoff

    async def _on_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _log_error(task: asyncio.Task[None]) -> None:
    """Log the unexpected error that ended the loop; the liveness probe restarts the process."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("work_ended", work="reconcile loop", exc_info=error)
