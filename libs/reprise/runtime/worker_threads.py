"""Threads that work beside a process's HTTP server, and end with it."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from reprise.runtime.logs import get_logger
from reprise.runtime.signals import terminate_process

_log = get_logger(__name__)


class WorkerThreads:
    """Runs each function on a thread of its own while the ``running`` block is open.

    A function returns soon after its argument is set; all together may take ``stop_seconds``. ``on_failure`` is called
    on the thread when a function raises, and ``failure`` is its exception: without its work the process is of no use.
    """

    def __init__(
        self,
        workers: Mapping[str, Callable[[threading.Event], object]],
        stop_seconds: float,
        on_failure: Callable[[], None] = terminate_process,
    ) -> None:
        self._workers = workers
        self._stop_seconds = stop_seconds
        self._on_failure = on_failure
        self._stop = threading.Event()
        self.failure: Exception | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start the threads; at the end set their event, and wait for them."""
        threads = [
            threading.Thread(target=self._run, args=(name, worker), name=name, daemon=True)
            for name, worker in self._workers.items()
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            deadline = time.monotonic() + self._stop_seconds
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, name: str, worker: Callable[[threading.Event], object]) -> None:
        try:
            worker(self._stop)
        except Exception as error:  # noqa: BLE001 - reported here and raised again by run_service
            self.failure = error
            _log.error("task_failed", task=name, exc_info=error)
            self._on_failure()
