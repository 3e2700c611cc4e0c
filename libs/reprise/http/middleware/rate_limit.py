"""Rate limit of each caller, by token buckets (https://en.wikipedia.org/wiki/Token_bucket)."""

import time
from collections.abc import Callable

from starlette.types import Scope

_BUCKET = "reprise.bucket"


class TokenBucket:
    """Gains ``rate`` tokens a second, up to ``burst``; it may be overdrawn, and then refills first."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._filled_at = clock()

    def admit(self) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0

    def charge(self, tokens: float) -> None:
        """Take tokens for an admitted request that costs more than one, even if the bucket is empty."""
        self._tokens -= tokens


class RateLimit:
    """A token bucket for each caller."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}

    def admit(self, caller: str, scope: Scope) -> float:
        """Take one of the caller's tokens for a request and return 0, or return the seconds to wait."""
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = TokenBucket(self._rate, self._burst, self._clock)
        scope[_BUCKET] = bucket
        return bucket.admit()


def charge(scope: Scope, units: int) -> None:
    """Charge a request for its units beyond the first, which admission charged."""
    bucket: TokenBucket | None = scope.get(_BUCKET)
    if bucket is not None and units > 1:
        bucket.charge(units - 1)
