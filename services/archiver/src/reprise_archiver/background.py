"""The workers, each on a thread next to the HTTP server."""

import threading
import time
from collections.abc import Callable, Sequence

from reprise_runtime.logs import get_logger

from reprise_archiver.worker import Worker

_log = get_logger(__name__)


class BackgroundWorkers:
    """Runs workers from ``start`` to ``stop``.

    Args:
        workers: What runs.
        on_failure: Is called, on its thread, when a worker ends without having been told to.
    """

    def __init__(self, workers: Sequence[Worker], on_failure: Callable[[], None]) -> None:
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(worker,), name=worker.topic, daemon=True)
            for worker in workers
        ]
        self.failure: Exception | None = None

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float) -> None:
        """Tell the workers to stop after the segment being written, and wait ``timeout`` seconds at most."""
        self._stop.set()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, worker: Worker) -> None:
        try:
            worker.run(self._stop)
        except Exception as error:  # noqa: BLE001 - a thread's last resort; main raises it again
            self.failure = error
            _log.error("worker_failed", topic=worker.topic, exc_info=error)
            self._on_failure()
