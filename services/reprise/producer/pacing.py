"""Keeping a rate over the long run."""


class Pace:
    """Says how many events are due, so that their number never drifts from the rate.

    Args:
        rate: Events a second.
        start: The instant at which the first is due, in seconds of any clock.
        forgiven: Seconds of standstill that are made up for; a longer one, such as a suspended machine, is not.
    """

    def __init__(self, rate: float, start: float, forgiven: float = 1.0) -> None:
        if rate <= 0:
            raise ValueError(f"rate: expected more than 0 events a second, got {rate}")
        self._rate = rate
        self._start = start
        self._forgiven = forgiven
        self._emitted = 0

    def due(self, now: float) -> int:
        """Return how many events are to be emitted now, and take them as emitted."""
        behind = now - self._start - self._emitted / self._rate
        if behind > self._forgiven:
            self._start += behind
        count = max(int((now - self._start) * self._rate) + 1 - self._emitted, 0)
        self._emitted += count
        return count

    def seconds_to_next(self, now: float) -> float:
        """Return how long it is until another is due; 0 when one is."""
        return max(self._start + self._emitted / self._rate - now, 0.0)
