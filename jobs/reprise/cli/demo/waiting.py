"""Waiting for a condition, and the demo's errors."""

import time
from collections.abc import Callable

from reprise.runtime.exceptions import RepriseError


class DemoError(RepriseError):
    """Root of the demo's errors."""


class NotReadyError(DemoError):
    """A condition did not become true in time."""


def wait_until(
    probe: Callable[[], bool], seconds: float, problem: str | Callable[[], str], every: float = 0.1
) -> None:
    """Call a probe every so many seconds until it returns true.

    Raises:
        NotReadyError: It does not within ``seconds``; the message is the problem, or what it returns then.
    """
    deadline = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > deadline:
            message = problem if isinstance(problem, str) else problem()
            raise NotReadyError(f"{message}, after {seconds:g} s")
        time.sleep(every)
