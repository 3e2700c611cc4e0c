"""Waiting for a condition."""

import time
from collections.abc import Callable

from reprise.cli.demo.exceptions import NotReadyError


def wait_until(
    probe: Callable[[], bool], seconds: float, problem: str | Callable[[], str], every: float = 0.1
) -> None:
    """Call a probe until it returns true.

    Args:
        probe: The condition; it may raise.
        seconds: Timeout, seconds.
        problem: The error's message, or what returns it after the timeout.
        every: Pause between calls, seconds.

    Raises:
        NotReadyError: It does not return true in time.
    """
    deadline = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > deadline:
            message = problem if isinstance(problem, str) else problem()
            raise NotReadyError(f"{message}, after {seconds:g} s")
        time.sleep(every)
