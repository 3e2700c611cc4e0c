"""The worker on a thread next to the HTTP server."""

import threading
from collections.abc import Callable

from reprise_runtime.logs import get_logger

from reprise_materializer.worker import Worker

_log = get_logger(__name__)


class BackgroundWorker:
    """Runs a worker from ``start`` to ``stop``.

    Args:
        worker: What runs.
        on_failure: Is called, on the thread, when the worker ends without having been told to.
    """

    def __init__(self, worker: Worker, on_failure: Callable[[], None]) -> None:
        self._worker = worker
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self.failure: Exception | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Tell the worker to stop after its batch, and wait ``timeout`` seconds for it at most."""
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self._worker.run(self._stop)
        except Exception as error:  # noqa: BLE001 - a thread's last resort; main raises it again
            self.failure = error
            _log.error("worker_failed", exc_info=error)
            self._on_failure()
