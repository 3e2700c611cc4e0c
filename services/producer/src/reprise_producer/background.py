"""The simulator on a thread next to the HTTP server."""

import threading
from collections.abc import Callable

from reprise_runtime.logs import get_logger

from reprise_producer.simulator import Simulator

_log = get_logger(__name__)


class BackgroundSimulator:
    """Runs a simulator at a steady rate from ``start`` to ``stop``.

    Args:
        simulator: What runs.
        rate: Events a second.
        on_failure: Is called, on the thread, when the simulator ends without having been told to.
    """

    def __init__(self, simulator: Simulator, rate: float, on_failure: Callable[[], None]) -> None:
        self._simulator = simulator
        self._rate = rate
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)
        self.failure: Exception | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Tell the simulator to stop, and wait ``timeout`` seconds for it at most."""
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self._simulator.run_continuously(self._rate, self._stop)
        except Exception as error:  # noqa: BLE001 - a thread's last resort; main raises it again
            self.failure = error
            _log.error("simulator_failed", exc_info=error)
            self._on_failure()
