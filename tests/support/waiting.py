"""Waiting for something to come true, which is the only honest way to test what takes its time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    what: str | Callable[[], str], probe: Callable[[], T | None], seconds: float, every: float = 0.5
) -> T:
    """Return what the probe returns once it returns something that counts.

    Args:
        what: What is waited for, for the error; a function can add what a log says by then.
        probe: Looks.
        seconds: How long to wait at most.
        every: Seconds between two looks.

    Raises:
        TimeoutError: It did not within these seconds.
    """
    give_up = time.monotonic() + seconds
    while not (found := probe()):
        if time.monotonic() > give_up:
            raise TimeoutError(f"after {seconds:g} s still not: {what if isinstance(what, str) else what()}")
        time.sleep(every)
    return found
