"""Work on threads of its own, next to a process's HTTP server."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping

from reprise.runtime.logs import get_logger

_log = get_logger(__name__)


def end_process() -> None:
    """Ask this process to end as Kubernetes would: by SIGTERM."""
    os.kill(os.getpid(), signal.SIGTERM)


class BackgroundTasks:
    """Runs functions, each on a thread, from ``start`` to ``stop``.

    Args:
        tasks: The functions by the names of their threads; each returns soon after its argument is set.
        on_failure: Is called, on the thread, when a function raises: without its work the process is of no use.

    Attributes:
        failure: What a function raised, the last if several did; for the process's main to raise again.
    """

    def __init__(
        self,
        tasks: Mapping[str, Callable[[threading.Event], object]],
        on_failure: Callable[[], None] = end_process,
    ) -> None:
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(name, task), name=name, daemon=True)
            for name, task in tasks.items()
        ]
        self.failure: Exception | None = None

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float) -> None:
        """Tell the functions to return, and wait ``timeout`` seconds for all of them at most."""
        self._stop.set()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, name: str, task: Callable[[threading.Event], object]) -> None:
        try:
            task(self._stop)
        except Exception as error:  # noqa: BLE001 - a thread's last resort; main raises it again
            self.failure = error
            _log.error("task_failed", task=name, exc_info=error)
            self._on_failure()
