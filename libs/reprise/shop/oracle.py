"""Reading the truth at each event: what was known of its pair, and the probability that follows."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from reprise.shop.activity_clock import ActivityClock
from reprise.shop.event_batch import VIEW
from reprise.shop.pending_events import Happenings
from reprise.shop.population import Population
from reprise.shop.truth import Prospect, purchase_probability, wish_rate

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

LOOKED_AT_FIRST = 0.35
"""Part of the wished purchases that a view of the product precedes."""


class Foresight:
    """The probability of a purchase of an event's pair within a horizon after the event."""

    def __init__(self, population: Population, clock: ActivityClock, horizon_us: int) -> None:
        self._population = population
        self._clock = clock
        self._horizon_us = horizon_us

    def foresee(self, events: Happenings, pairs: Indices, last: Floats) -> Happenings:
        """Return the events with their probabilities.

        Args:
            events: All that happened in a slice.
            pairs: The pairs that were bought before the slice, ascending.
            last: The last purchase of each of them before the slice, on the user's clock.
        """
        known = self._prospects(events, _last_purchase(self._population, events, pairs, last))
        later = purchase_probability(known)
        viewed = np.flatnonzero(events.event_type == VIEW)
        later[viewed] = self._after_view(events, known, later, viewed)
        return replace(events, probability=later)

    def _prospects(self, events: Happenings, last: Floats) -> Prospect:
        population, user, product = self._population, events.user, events.product
        segment = population.users.segment[user]
        now = self._clock.read(segment, events.timestamp_us)
        end = self._clock.read(segment, events.timestamp_us + self._horizon_us)
        bought = np.isfinite(last)
        satiation = np.where(bought, population.products.satiation[product], 1.0)
        return Prospect(
            age=events.reading - last,
            advance=end - now,
            churn=population.users.churn[user],
            browsing=population.browsing(user, product) * population.conversion(user, product) * satiation,
            repeat=population.repeat(user, product),
            cycle=population.cycle(user, product),
            regularity=population.products.regularity[product],
        )

    def _after_view(self, events: Happenings, known: Prospect, later: Floats, viewed: Indices) -> Floats:
        """Return the probability at views: the view may be a wish's, or lead to a purchase, or neither."""
        user, product = events.user[viewed], events.product[viewed]
        browsing = self._population.browsing(user, product)
        wished = LOOKED_AT_FIRST * wish_rate(known.take(viewed))
        for_wish = wished / (wished + browsing)
        convinced = known.browsing[viewed] / browsing
        probability: Floats = for_wish + (1 - for_wish) * (convinced + (1 - convinced) * later[viewed])
        return probability


def _last_purchase(population: Population, events: Happenings, pairs: Indices, last: Floats) -> Floats:
    """Return the reading of the pair's last purchase up to and with each event, −inf where there is none."""
    pair = population.pair(events.user, events.product)
    order = np.lexsort((events.event_type, events.reading, pair))
    pair = pair[order]
    position = np.arange(len(pair))
    first = np.ones(len(pair), dtype=np.bool_)
    first[1:] = pair[1:] != pair[:-1]
    purchase = np.where(events.event_type[order] == VIEW, -1, position)
    latest = np.maximum.accumulate(purchase)
    start = np.maximum.accumulate(np.where(first, position, 0))
    reading = events.reading[order]
    before = np.full(len(pair), -np.inf)
    if len(pairs):
        row = np.minimum(np.searchsorted(pairs, pair), len(pairs) - 1)
        before = np.where(pairs[row] == pair, last[row], -np.inf)
    found = np.where(latest >= start, reading[np.maximum(latest, 0)], before)
    result = np.empty(len(pair))
    result[order] = found
    return result
