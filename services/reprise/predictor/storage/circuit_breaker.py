"""Leaving a store that keeps failing alone for a while, so that nobody waits for it in vain."""

import time
from collections.abc import Callable

from reprise.predictor.exceptions import StoreHeldOffError


class Circuit:
    """A circuit breaker: open after failures in a row, it lets one trial through every so many seconds.

    A trial that never reports back blocks nothing: the next is let through when its time comes.

    Args:
        failures: How many in a row open it.
        open_seconds: How long it stays open before a trial.
        clock: Seconds of a clock that only goes forward.
    """

    def __init__(
        self, failures: int, open_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._failures = 0
        self._trial_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the last calls failed, so that only trials are let through."""
        return self._failures >= self._limit

    def enter(self) -> None:
        """Ask whether the store may be called now.

        Raises:
            StoreHeldOffError: Not before the next trial.
        """
        if self._failures < self._limit:
            return
        now = self._clock()
        if now < self._trial_at:
            raise StoreHeldOffError(self._trial_at - now)
        self._trial_at = now + self._open_seconds

    def succeeded(self) -> None:
        """Hear that a call was answered."""
        self._failures = 0

    def failed(self) -> None:
        """Hear that a call failed."""
        self._failures += 1
        if self._failures >= self._limit:
            self._trial_at = self._clock() + self._open_seconds

    def sign_of_life(self) -> None:
        """Hear that the store answers something: reads are let through again, until the first that fails.

        Without it a process that gets no requests because its circuit is open would never close it.
        """
        self._failures = min(self._failures, self._limit - 1)
