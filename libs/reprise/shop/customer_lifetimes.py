"""When each user is a customer: lives that begin, end by churn, and begin anew after a long absence.

Lives are drawn by hashing (seed, user, number of the life) from the calendar's first day on, so the same
users are customers at the same instants wherever a stream starts.
"""

import numpy as np
import numpy.typing as npt

from reprise.shop.activity_clock import EPOCH_US, ActivityClock
from reprise.shop.config import DAY_US
from reprise.shop.hashing import hashed_uniform, salt
from reprise.shop.population import Population

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

ABSENCE_DAYS = 180
"""The fewest days between a user's churn and the next life; a horizon up to it can forget about returns."""

_MEAN_EXTRA_ABSENCE_DAYS = 180.0
_LIVES = 11


class Lifetimes:
    """The current life of each user, or the next one, as readings of the user's activity clock."""

    def __init__(self, population: Population, clock: ActivityClock) -> None:
        self._clock = clock
        self._segment = population.users.segment
        self._churn = population.users.churn
        self._key = salt(population.config.seed, _LIVES)
        count = len(self._segment)
        self._life = np.zeros(count, dtype=np.int64)
        first = hashed_uniform(salt(self._key, 0), np.arange(count)) * 2 * ABSENCE_DAYS * DAY_US
        self.birth: Floats = clock.read(self._segment, EPOCH_US + first.astype(np.int64))
        self.death: Floats = self.birth + self._length(np.arange(count))

    def advance(self, now_us: int) -> Indices:
        """Replace every life that ended by now with the user's next; return the users whose life ended."""
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
        self._life[users] += 1
        extra = -_MEAN_EXTRA_ABSENCE_DAYS * np.log(self._uniform(users, 2))
        back = left + ((ABSENCE_DAYS + extra) * DAY_US).astype(np.int64)
        self.birth[users] = self._clock.read(segment, back)
        self.death[users] = self.birth[users] + self._length(users)

    def _length(self, users: Indices) -> Floats:
        length: Floats = -np.log(self._uniform(users, 1)) / self._churn[users]
        return length

    def _uniform(self, users: Indices, purpose: int) -> Floats:
        return hashed_uniform(salt(self._key, purpose), users * 4096 + self._life[users])
