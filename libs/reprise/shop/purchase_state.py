"""The last purchase of each pair, and when it will be replenished.

After each purchase of a pair, the user needs the same product again with probability ``repeat``. The replenishment
comes after an Erlang-distributed time (``regularity`` stages, mean ``cycle`` shop days), unless the pair is
bought earlier, which restarts the time.
"""

from dataclasses import dataclass

import numpy as np

from reprise.shop.columns import Columns, Floats, Indices
from reprise.shop.population import Population


@dataclass(frozen=True, slots=True)
class Replenishments(Columns):
    """Purchases that replenish."""

    pair: Indices  # number of the user–product pair
    activity_time: Floats  # when, on the user's activity clock


class PurchaseState:
    """The pairs bought in the current lifetime of their user, sorted by number."""

    def __init__(self, population: Population, draw: np.random.Generator) -> None:
        self._population = population
        self._draw = draw
        self.pair: Indices = np.zeros(0, dtype=np.int64)  # numbers of the pairs, ascending
        self.user: Indices = np.zeros(0, dtype=np.int64)  # user of each pair
        self.last: Floats = np.zeros(0)  # activity time of the last purchase; −inf before the first
        self.due: Floats = np.zeros(0)  # activity time of the next replenishment; +inf if there is none

    def find(self, pair: Indices) -> Indices:
        """Return the row of each pair, or −1."""
        if len(self.pair) == 0:
            return np.full(len(pair), -1, dtype=np.int64)
        row = np.minimum(np.searchsorted(self.pair, pair), len(self.pair) - 1)
        return np.where(self.pair[row] == pair, row, -1)

    def add(self, pair: Indices) -> None:
        """Add rows for the pairs that have none, as never bought."""
        new = np.unique(pair)
        new = new[self.find(new) < 0]
        if len(new) == 0:
            return
        at = np.searchsorted(self.pair, new)
        self.pair = np.insert(self.pair, at, new)
        self.user = np.insert(self.user, at, new // self._population.config.products)
        self.last = np.insert(self.last, at, -np.inf)
        self.due = np.insert(self.due, at, np.inf)

    def buy(self, row: Indices, activity_time: Floats) -> None:
        """Record a purchase of each row, at most one per row, and draw its replenishment."""
        user = self.user[row]
        product = self.pair[row] % self._population.config.products
        stages = self._population.products.regularity[product].astype(np.float64)
        mean = self._population.cycle(user, product)
        wait = self._draw.standard_gamma(stages) * (mean / stages)
        needed = self._draw.random(len(row)) < self._population.repeat(user, product)
        self.last[row] = activity_time
        self.due[row] = np.where(needed, activity_time + wait, np.inf)

    def replenish(self, row: Indices, until: Floats) -> Replenishments:
        """Buy every replenishment of the rows that is due before its own ``until``; return them."""
        found = [Replenishments(np.zeros(0, dtype=np.int64), np.zeros(0))]
        late = self.due[row] < until
        while late.any():
            row, until = row[late], until[late]
            due = self.due[row]
            found.append(Replenishments(self.pair[row], due))
            self.buy(row, due)
            late = self.due[row] < until
        return Replenishments.concatenate(found)

    def drop(self, users: Indices) -> None:
        """Drop the rows of users whose lifetime has ended."""
        if len(users) == 0:
            return
        gone = np.zeros(self._population.config.users, dtype=bool)
        gone[users] = True
        kept = ~gone[self.user]
        self.pair, self.user = self.pair[kept], self.user[kept]
        self.last, self.due = self.last[kept], self.due[kept]
