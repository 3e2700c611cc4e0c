"""Customer lifetimes: they begin, end by churn, and begin again after a long absence.

They are drawn by hashing (seed, user, number of the lifetime) from the calendar's first day on, so the same
users are customers at the same instants wherever a stream starts.
"""

import numpy as np

from reprise.shop.activity_clock import EPOCH_US, ActivityClock
from reprise.shop.columns import Floats, Indices
from reprise.shop.config import DAY_US
from reprise.shop.hashing import combined_key, hashed_uniform
from reprise.shop.population import Population

ABSENCE_DAYS = 180
"""Minimum days between a user's churn and return; a horizon up to it can ignore returns."""

_MEAN_EXTRA_ABSENCE_DAYS = 180.0
_LIFETIMES = 11


class CustomerLifetimes:
    """The current lifetime of each user, or the next one, as times of the user's activity clock."""

    def __init__(self, population: Population, clock: ActivityClock) -> None:
        self._clock = clock
        self._segment = population.users.segment
        self._churn = population.users.churn
        self._key = combined_key(population.config.seed, _LIFETIMES)
        users = np.arange(len(self._segment))
        self._number = np.zeros(len(users), dtype=np.int64)
        first = hashed_uniform(combined_key(self._key, 0), users) * 2 * ABSENCE_DAYS * DAY_US
        self.birth: Floats = clock.read(self._segment, EPOCH_US + first.astype(np.int64))
        self.death: Floats = self.birth + self._length(users)

    def advance(self, now_us: int) -> Indices:
        """Replace every lifetime that ended by now with the user's next; return the users whose lifetime ended."""
        now = self._clock.read_all(now_us)[self._segment]
        ended = np.flatnonzero(self.death <= now)
        pending = ended
        while len(pending):
            self._renew(pending)
            pending = pending[self.death[pending] <= now[pending]]
        return ended

    def _renew(self, users: Indices) -> None:
        segment = self._segment[users]
        left = self._clock.instant(segment, self.death[users])
        self._number[users] += 1
        extra = -_MEAN_EXTRA_ABSENCE_DAYS * np.log(self._uniform(users, 2))
        back = left + ((ABSENCE_DAYS + extra) * DAY_US).astype(np.int64)
        self.birth[users] = self._clock.read(segment, back)
        self.death[users] = self.birth[users] + self._length(users)

    def _length(self, users: Indices) -> Floats:
        length: Floats = -np.log(self._uniform(users, 1)) / self._churn[users]
        return length

    def _uniform(self, users: Indices, purpose: int) -> Floats:
        return hashed_uniform(combined_key(self._key, purpose), users * 4096 + self._number[users])
