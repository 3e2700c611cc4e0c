"""The events of the shop, slice by slice."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reprise.shop.activity_clock import ActivityClock
from reprise.shop.config import DAY_US, HOUR_US
from reprise.shop.customer_lifetimes import Lifetimes
from reprise.shop.event_batch import PURCHASE, VIEW, EventChunk
from reprise.shop.hashing import salt
from reprise.shop.oracle import LOOKED_AT_FIRST, Foresight
from reprise.shop.pending_events import Happenings
from reprise.shop.population import Population
from reprise.shop.purchase_state import Pantry, Wishes
from reprise.shop.sessions import BrowsedViews, browse, browse_purchases

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

WARM_UP_DAYS = 240
"""Days before a stream's start whose purchases are made, unseen, so that pantries are full when it starts."""

_WARM_UP_SLICE_US = 10 * DAY_US
_EVENTS_PER_SLICE = 100_000
_EVENTS_PER_USER_DAY = 0.8
_MINUTE_US = 60_000_000
_STREAM = 21


@dataclass(frozen=True, slots=True)
class _Slice:
    """A stretch of time: its bounds, and what each user's clock shows while the user is a customer in it."""

    begin_us: int
    end_us: int
    begins: Floats
    ends: Floats


class EventStream:
    """One run of the shop from an instant on."""

    def __init__(
        self, population: Population, clock: ActivityClock, start_us: int, horizon_us: int | None
    ) -> None:
        self._population = population
        self._clock = clock
        self._start_us = start_us
        self._key = salt(population.config.seed, _STREAM, start_us)
        self._draw = np.random.Generator(np.random.SFC64([population.config.seed, _STREAM, start_us]))
        self._lifetimes = Lifetimes(population, clock)
        self._pantry = Pantry(population, self._draw)
        self._foresight = None if horizon_us is None else Foresight(population, clock, horizon_us)
        self._carried = Happenings.none()
        self._sequence = 0
        self._last_us = start_us - 1

    def chunks(self) -> Iterator[EventChunk]:
        """Yield the events, slice by slice, without end; slices without events are left out."""
        now = self._start_us - WARM_UP_DAYS * DAY_US
        self._lifetimes.advance(now)
        while now < self._start_us:
            until = min(now + _WARM_UP_SLICE_US, self._start_us)
            self._remember(now, until)
            now = until
        step = slice_us(self._population.config.users)
        while True:
            chunk = self._advance(now, now + step)
            now += step
            if len(chunk):
                yield chunk

    def _remember(self, begin_us: int, end_us: int) -> None:
        piece = self._slice(begin_us, end_us)
        views = browse_purchases(self._population, self._draw, piece.begins, piece.ends)
        self._purchase(piece, views)
        self._pantry.forget(self._lifetimes.advance(end_us))

    def _advance(self, begin_us: int, end_us: int) -> EventChunk:
        piece = self._slice(begin_us, end_us)
        views = browse(self._population, self._draw, piece.begins, piece.ends)
        before = self._pantry.pair, self._pantry.last.copy()
        bought, wishes = self._purchase(piece, views)
        happened = self._happenings(views, bought, wishes)
        if self._foresight is not None:
            happened = self._foresight.foresee(happened, *before)
        self._pantry.forget(self._lifetimes.advance(end_us))
        ordered = Happenings.concatenate((self._carried, happened)).in_time_order()
        ready = int(np.searchsorted(ordered.timestamp_us, end_us))
        self._carried = ordered.slice(ready, len(ordered))
        return self._emit(ordered.slice(0, ready))

    def _slice(self, begin_us: int, end_us: int) -> _Slice:
        segment = self._population.users.segment
        begins = np.maximum(self._clock.read_all(begin_us)[segment], self._lifetimes.birth)
        ends = np.minimum(self._clock.read_all(end_us)[segment], self._lifetimes.death)
        return _Slice(begin_us, end_us, begins, np.maximum(begins, ends))

    def _purchase(self, piece: _Slice, views: BrowsedViews) -> tuple[Indices, Wishes]:
        """Run browsing and wishes against each other; return the views that were bought, and the wishes.

        Purchases of a pair depend on each other, so the convinced views of each pair are taken in turn: all
        first ones, then all second ones, ….
        """
        population, pantry = self._population, self._pantry
        convinced = np.flatnonzero(views.convinced)
        pair = population.pair(views.user[convinced], views.product[convinced])
        pantry.add(pair)
        order = np.lexsort((views.reading[convinced], pair))
        convinced, pair = convinced[order], pair[order]
        first = np.concatenate(([True], pair[1:] != pair[:-1])) if len(pair) else np.zeros(0, dtype=np.bool_)
        turn = np.arange(len(pair)) - np.maximum.accumulate(np.where(first, np.arange(len(pair)), 0))
        row = pantry.find(pair)
        content = self._draw.random(len(pair)) >= population.products.satiation[views.product[convinced]]
        bought, wishes = [], []
        for number in range(int(turn.max()) + 1 if len(turn) else 0):
            now = np.flatnonzero(turn == number)
            reading = views.reading[convinced[now]]
            wishes.append(pantry.fulfil(row[now], reading))
            buys = ~(content[now] & np.isfinite(pantry.last[row[now]]))
            pantry.buy(row[now[buys]], reading[buys])
            bought.append(convinced[now[buys]])
        wishes.append(pantry.fulfil(np.arange(len(pantry.pair)), piece.ends[pantry.user]))
        all_wishes = Wishes(
            np.concatenate([some.pair for some in wishes]), np.concatenate([some.reading for some in wishes])
        )
        return np.concatenate([np.zeros(0, dtype=np.int64), *bought]), all_wishes

    def _happenings(self, views: BrowsedViews, bought: Indices, wishes: Wishes) -> Happenings:
        products = self._population.config.products
        user, product = wishes.pair // products, wishes.pair % products
        looked = np.flatnonzero(self._draw.random(len(user)) < LOOKED_AT_FIRST)
        wished_delay = np.zeros(len(user), dtype=np.int64)
        wished_delay[looked] = self._hesitation(len(looked))
        bought_delay = views.delay_us[bought] + self._hesitation(len(bought))
        everyone = np.concatenate((views.user, views.user[bought], user[looked], user))
        reading = np.concatenate(
            (views.reading, views.reading[bought], wishes.reading[looked], wishes.reading)
        )
        delay = np.concatenate(
            (views.delay_us, bought_delay, np.zeros(len(looked), dtype=np.int64), wished_delay)
        )
        kinds = (len(views.user), len(bought), len(looked), len(user))
        return Happenings(
            user=everyone,
            product=np.concatenate((views.product, views.product[bought], product[looked], product)),
            event_type=np.repeat(np.array((VIEW, PURCHASE, VIEW, PURCHASE), dtype=np.uint8), kinds),
            reading=reading,
            timestamp_us=self._clock.instant(self._population.users.segment[everyone], reading) + delay,
            probability=np.full(len(everyone), np.nan),
        )

    def _hesitation(self, count: int) -> Indices:
        minutes = np.minimum(np.exp(1.0 + 0.7 * self._draw.standard_normal(count)), 30.0)
        delay: Indices = (minutes * _MINUTE_US).astype(np.int64)
        return delay

    def _emit(self, events: Happenings) -> EventChunk:
        count = len(events)
        steps = np.arange(count)
        lowest = np.maximum.accumulate(np.maximum(events.timestamp_us - steps, self._last_us + 1))
        timestamp_us = lowest + steps
        bought = np.flatnonzero(events.event_type == PURCHASE)
        product = events.product[bought]
        discount = np.zeros(count, dtype=np.uint8)
        discount[bought] = self._population.discount(product, timestamp_us[bought])
        amount = np.full(count, np.nan)
        price = self._population.products.price[product]
        amount[bought] = np.round(price * (100 - discount[bought].astype(np.float64))) / 100.0
        first = self._sequence
        self._sequence += count
        if count:
            self._last_us = int(timestamp_us[-1])
        return EventChunk(
            user=events.user,
            product=events.product,
            event_type=events.event_type,
            timestamp_us=timestamp_us,
            amount=amount,
            discount=discount,
            sequence=first + steps,
            probability=None if self._foresight is None else events.probability,
            stream_key=self._key,
        )


def slice_us(users: int) -> int:
    """Return the length of a slice for some 100,000 events in it, or more for very many users.

    It is a whole number of hours, at most a week. A pass over the pantries costs as much as users have pairs,
    so it is to come no more often than once per user's quarter of an event.
    """
    events = max(_EVENTS_PER_SLICE, users // 4)
    hours = int(events / (users * _EVENTS_PER_USER_DAY / 24))
    return min(max(hours, 1), 168) * HOUR_US
