"""The events of the shop, slice of time by slice of time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reprise.shop.activity_clock import ActivityClock
from reprise.shop.columns import Floats, Indices
from reprise.shop.config import DAY_US, HOUR_US
from reprise.shop.customer_lifetimes import CustomerLifetimes
from reprise.shop.event_batch import PURCHASE, VIEW, EventBatch, PendingEvents
from reprise.shop.hashing import combined_key
from reprise.shop.oracle import VIEWED_FIRST, Oracle
from reprise.shop.population import Population
from reprise.shop.purchase_state import PurchaseState, Replenishments
from reprise.shop.sessions import SessionViews, draw_converted_views, draw_views

WARM_UP_DAYS = 240
"""Days before a stream's start whose purchases are simulated without events, so that it starts with full state."""

_WARM_UP_SLICE_US = 10 * DAY_US
_EVENTS_PER_SLICE = 100_000
_EVENTS_PER_USER_DAY = 0.8
_MINUTE_US = 60_000_000
_STREAM = 21


@dataclass(frozen=True, slots=True)
class _Slice:
    """A span of time, and the activity times at which each user's presence in it begins and ends."""

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
        self._key = combined_key(population.config.seed, _STREAM, start_us)
        self._draw = np.random.Generator(np.random.SFC64([population.config.seed, _STREAM, start_us]))
        self._lifetimes = CustomerLifetimes(population, clock)
        self._state = PurchaseState(population, self._draw)
        self._oracle = None if horizon_us is None else Oracle(population, clock, horizon_us)
        self._carried = PendingEvents.none()
        self._sequence = 0
        self._last_us = start_us - 1

    def batches(self) -> Iterator[EventBatch]:
        """Yield the events without end, a batch for each slice that has any."""
        now = self._start_us - WARM_UP_DAYS * DAY_US
        self._lifetimes.advance(now)
        while now < self._start_us:
            until = min(now + _WARM_UP_SLICE_US, self._start_us)
            self._warm_up(now, until)
            now = until
        step = slice_us(self._population.config.users)
        while True:
            batch = self._advance(now, now + step)
            now += step
            if len(batch):
                yield batch

    def _warm_up(self, begin_us: int, end_us: int) -> None:
        span = self._slice(begin_us, end_us)
        self._purchase(span, draw_converted_views(self._population, self._draw, span.begins, span.ends))
        self._state.drop(self._lifetimes.advance(end_us))

    def _advance(self, begin_us: int, end_us: int) -> EventBatch:
        span = self._slice(begin_us, end_us)
        views = draw_views(self._population, self._draw, span.begins, span.ends)
        before = self._state.pair, self._state.last.copy()
        bought, replenishments = self._purchase(span, views)
        events = self._pending_events(views, bought, replenishments)
        if self._oracle is not None:
            events = self._oracle.predict(events, *before)
        self._state.drop(self._lifetimes.advance(end_us))
        ordered = PendingEvents.concatenate((self._carried, events)).in_time_order()
        ready = int(np.searchsorted(ordered.timestamp_us, end_us))
        self._carried = ordered.take(slice(ready, None))
        return self._batch(ordered.take(slice(ready)))

    def _slice(self, begin_us: int, end_us: int) -> _Slice:
        segment = self._population.users.segment
        begins = np.maximum(self._clock.read_all(begin_us)[segment], self._lifetimes.birth)
        ends = np.minimum(self._clock.read_all(end_us)[segment], self._lifetimes.death)
        return _Slice(begin_us, end_us, begins, np.maximum(begins, ends))

    def _purchase(self, span: _Slice, views: SessionViews) -> tuple[Indices, Replenishments]:
        """Run browsing and replenishment against each other; return the rows of the views bought, and the latter.

        Purchases of a pair depend on each other, so its converted views are processed in turns: all first views,
        then all second views, ….
        """
        population, state = self._population, self._state
        converted = np.flatnonzero(views.converted)
        pair = population.pair(views.user[converted], views.product[converted])
        state.add(pair)
        order = np.lexsort((views.activity_time[converted], pair))
        converted, pair = converted[order], pair[order]
        first = np.concatenate(([True], pair[1:] != pair[:-1])) if len(pair) else np.zeros(0, dtype=np.bool_)
        turn = np.arange(len(pair)) - np.maximum.accumulate(np.where(first, np.arange(len(pair)), 0))
        row = state.find(pair)
        satiated = self._draw.random(len(pair)) >= population.products.satiation[views.product[converted]]
        bought, replenished = [np.zeros(0, dtype=np.int64)], []
        for number in range(int(turn.max()) + 1 if len(turn) else 0):
            now = np.flatnonzero(turn == number)
            activity_time = views.activity_time[converted[now]]
            replenished.append(state.replenish(row[now], activity_time))
            buys = ~(satiated[now] & np.isfinite(state.last[row[now]]))
            state.buy(row[now[buys]], activity_time[buys])
            bought.append(converted[now[buys]])
        replenished.append(state.replenish(np.arange(len(state.pair)), span.ends[state.user]))
        return np.concatenate(bought), Replenishments.concatenate(replenished)

    def _pending_events(
        self, views: SessionViews, bought: Indices, replenishments: Replenishments
    ) -> PendingEvents:
        products = self._population.config.products
        user, product = replenishments.pair // products, replenishments.pair % products
        viewed = np.flatnonzero(self._draw.random(len(user)) < VIEWED_FIRST)
        replenished_delay = np.zeros(len(user), dtype=np.int64)
        replenished_delay[viewed] = self._checkout_delay(len(viewed))
        bought_delay = views.delay_us[bought] + self._checkout_delay(len(bought))
        users = np.concatenate((views.user, views.user[bought], user[viewed], user))
        activity_time = np.concatenate(
            (
                views.activity_time,
                views.activity_time[bought],
                replenishments.activity_time[viewed],
                replenishments.activity_time,
            )
        )
        delay = np.concatenate(
            (views.delay_us, bought_delay, np.zeros(len(viewed), dtype=np.int64), replenished_delay)
        )
        counts = (len(views), len(bought), len(viewed), len(user))
        return PendingEvents(
            user=users,
            product=np.concatenate((views.product, views.product[bought], product[viewed], product)),
            event_type=np.repeat(np.array((VIEW, PURCHASE, VIEW, PURCHASE), dtype=np.uint8), counts),
            activity_time=activity_time,
            timestamp_us=self._clock.instant(self._population.users.segment[users], activity_time) + delay,
            probability=np.full(len(users), np.nan),
        )

    def _checkout_delay(self, count: int) -> Indices:
        """Return the microseconds between view and purchase, up to half an hour."""
        minutes = np.minimum(np.exp(1.0 + 0.7 * self._draw.standard_normal(count)), 30.0)
        delay: Indices = (minutes * _MINUTE_US).astype(np.int64)
        return delay

    def _batch(self, events: PendingEvents) -> EventBatch:
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
        return EventBatch(
            user=events.user,
            product=events.product,
            event_type=events.event_type,
            timestamp_us=timestamp_us,
            amount=amount,
            discount=discount,
            sequence=first + steps,
            probability=None if self._oracle is None else events.probability,
            stream_key=self._key,
        )


def slice_us(users: int) -> int:
    """Return the length of a slice, a whole number of hours up to a week, for about 100,000 events.

    With very many users a slice is longer: a pass over the purchase state costs as much as users have pairs, so
    it comes at most once per quarter of an event per user.
    """
    events = max(_EVENTS_PER_SLICE, users // 4)
    hours = int(events / (users * _EVENTS_PER_USER_DAY / 24))
    return min(max(hours, 1), 168) * HOUR_US
