"""The end of a worker that reads a log once: when nothing has been left to do for a while."""

import threading
import time
from collections.abc import Callable

from reprise.log.interface import LogConsumer

_ASSIGNMENT_SECONDS = 30.0


def run_until_idle(
    step: Callable[[], bool], consumer: LogConsumer, stop: threading.Event, idle_seconds: float
) -> None:
    """Call ``step``, which tells whether there was work, until there was none for ``idle_seconds`` or ``stop`` is set.

    The group assigns partitions once the session of former consumers has expired, so the idle time starts with the
    first assignment. After 30 seconds without any, other consumers hold all partitions. However slow the machine is,
    a step that found no work comes last.
    """
    started = last = time.monotonic()
    while not stop.is_set():
        worked = step()
        now = time.monotonic()
        if worked or (not consumer.assignment and now - started < _ASSIGNMENT_SECONDS):
            last = now
        elif now - last >= idle_seconds:
            return
