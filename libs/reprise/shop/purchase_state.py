"""What each user has bought, and when it will be used up.

After each purchase of a pair, the user wants the same product again with chance ``repeat``; then the wish
comes after an Erlang-distributed time (``regularity`` stages, mean ``cycle`` shop days) unless the pair is
bought earlier, which starts the time anew.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reprise.shop.population import Population

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Wishes:
    """Purchases because a product was used up.

    Attributes:
        pair: Number of the user–product pair.
        reading: When, on the user's activity clock.
    """

    pair: Indices
    reading: Floats


class Pantry:
    """The pairs that were bought in the current life of their user, sorted by number.

    Attributes:
        pair: Numbers of the pairs, ascending.
        user: The user of each.
        last: The last purchase of each, on the user's clock; −inf before the first.
        due: The next wish of each; +inf where there is none.
    """

    def __init__(self, population: Population, draw: np.random.Generator) -> None:
        self._population = population
        self._draw = draw
        self.pair: Indices = np.zeros(0, dtype=np.int64)
        self.user: Indices = np.zeros(0, dtype=np.int64)
        self.last: Floats = np.zeros(0)
        self.due: Floats = np.zeros(0)

    def find(self, pair: Indices) -> Indices:
        """Return the row of each pair, or −1."""
        if len(self.pair) == 0:
            return np.full(len(pair), -1, dtype=np.int64)
        row = np.minimum(np.searchsorted(self.pair, pair), len(self.pair) - 1)
        return np.where(self.pair[row] == pair, row, -1)

    def add(self, pair: Indices) -> None:
        """Make rows for those pairs that have none, as never bought."""
        new = np.unique(pair)
        new = new[self.find(new) < 0]
        if len(new) == 0:
            return
        at = np.searchsorted(self.pair, new)
        self.pair = np.insert(self.pair, at, new)
        self.user = np.insert(self.user, at, new // self._population.config.products)
        self.last = np.insert(self.last, at, -np.inf)
        self.due = np.insert(self.due, at, np.inf)

    def buy(self, row: Indices, reading: Floats) -> None:
        """Note a purchase of each row, at most one per row, and draw its next wish."""
        user = self.user[row]
        product = self.pair[row] % self._population.config.products
        stages = self._population.products.regularity[product].astype(np.float64)
        mean = self._population.cycle(user, product)
        wait = self._draw.standard_gamma(stages) * (mean / stages)
        wanted = self._draw.random(len(row)) < self._population.repeat(user, product)
        self.last[row] = reading
        self.due[row] = np.where(wanted, reading + wait, np.inf)

    def fulfil(self, row: Indices, until: Floats) -> Wishes:
        """Turn every wish of the rows that is due before its own ``until`` into a purchase; return them."""
        pairs, readings = [], []
        late = self.due[row] < until
        while late.any():
            row, until = row[late], until[late]
            reading = self.due[row]
            pairs.append(self.pair[row])
            readings.append(reading)
            self.buy(row, reading)
            late = self.due[row] < until
        if not pairs:
            return Wishes(np.zeros(0, dtype=np.int64), np.zeros(0))
        return Wishes(np.concatenate(pairs), np.concatenate(readings))

    def forget(self, users: Indices) -> None:
        """Drop the rows of users whose life has ended."""
        if len(users) == 0:
            return
        gone = np.zeros(self._population.config.users, dtype=bool)
        gone[users] = True
        kept = ~gone[self.user]
        self.pair, self.user = self.pair[kept], self.user[kept]
        self.last, self.due = self.last[kept], self.due[kept]
