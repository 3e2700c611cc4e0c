"""The shop: users, products, and streams of their events.

Decision: time runs in slices, all users together.
    A stream advances in slices of an hour to a week, sized for about 100,000 events, and draws each slice for all users
    at once. Between slices it keeps the customer lifetimes, a row per pair bought in the current lifetime of its user,
    and the events of sessions that run past the slice's end. So events come in time order, a stream has no end, and
    memory grows with users and the pairs they buy, never with events or days. The alternative, whole histories per
    block of users merged on disk, keeps less state but has no live stream and writes everything twice.
"""

from collections.abc import Iterator

import numpy as np

from reprise.shop.activity_clock import EPOCH_US, ActivityClock
from reprise.shop.columns import Floats, Indices
from reprise.shop.config import DAY_US, HOUR_US, InvalidShopError, ShopConfig
from reprise.shop.event_batch import PURCHASE, VIEW, EventBatch, PendingEvents
from reprise.shop.hashing import combined_key, hashed_uniform
from reprise.shop.oracle import VIEWED_FIRST, Oracle
from reprise.shop.population import Population
from reprise.shop.purchase_state import PurchaseState, Replenishments
from reprise.shop.sessions import SessionViews, draw_converted_views, draw_views

WARM_UP_DAYS = 240
"""Days before a stream's start whose purchases are simulated without events, so that it starts with full state."""

ABSENCE_DAYS = 180
"""Minimum days between a user's churn and return; a horizon up to it can ignore returns."""

_WARM_UP_SLICE_US = 10 * DAY_US
_EVENTS_PER_SLICE = 100_000
_EVENTS_PER_USER_DAY = 0.8
_MINUTE_US = 60_000_000
_MEAN_EXTRA_ABSENCE_DAYS = 180.0
_LIFETIMES, _STREAM = 11, 21


class Shop:
    """The users and products of a config, and streams of their events."""

    def __init__(self, config: ShopConfig | None = None) -> None:
        self.config = config or ShopConfig()
        self.population = Population(self.config)

    def stream(self, start_us: int, *, horizon_us: int | None = None) -> Iterator[EventBatch]:
        """Return batches of the shop's events from an instant on, without end, equal for equal arguments.

        Streams of one config that start at different instants have the same users, products, affinities and
        lifetimes, but each has its own past, its own events and its own event ids.

        Args:
            start_us: First instant, microseconds since 1970-01-01 UTC, in the years 2006 to 2099.
            horizon_us: Horizon of each event's ``probability``; ``None`` leaves it out.

        Raises:
            InvalidShopError: The start or the horizon is out of its range.
        """
        earliest = EPOCH_US + 365 * DAY_US
        if start_us < earliest:
            raise InvalidShopError(
                "start", f"{start_us} µs", f"an instant from {earliest} µs (2006-01-01) on"
            )
        if horizon_us is not None and not 0 < horizon_us <= ABSENCE_DAYS * DAY_US:
            raise InvalidShopError(
                "horizon", f"{horizon_us / DAY_US:g} days", f"more than 0, up to {ABSENCE_DAYS} days"
            )
        clock = ActivityClock(start_us - (WARM_UP_DAYS + 1) * DAY_US)
        return EventStream(self.population, clock, start_us, horizon_us).batches()

    def history(self, start_us: int, end_us: int, *, horizon_us: int | None = None) -> Iterator[EventBatch]:
        """Yield the events of ``stream`` before an instant, in its batches; none is empty."""
        for batch in self.stream(start_us, horizon_us=horizon_us):
            wanted = batch.before(end_us)
            if len(wanted):
                yield wanted
            if len(wanted) < len(batch):
                return

    def user_ids(self) -> list[str]:
        """Return the ids of all users, by index, such as ``u000123``."""
        return numbered_ids("u", self.config.users, 6)

    def product_ids(self) -> list[str]:
        """Return the ids of all products, by index, such as ``p00042``."""
        return numbered_ids("p", self.config.products, 5)


def numbered_ids(prefix: str, count: int, digits: int) -> list[str]:
    """Return ids of equal length: the prefix, and a number from 0 with at least this many digits."""
    digits = max(digits, len(str(count - 1)))
    return [f"{prefix}{number:0{digits}d}" for number in range(count)]


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
        begins, ends = self._presence(begin_us, end_us)
        self._purchase(ends, draw_converted_views(self._population, self._draw, begins, ends))
        self._state.drop(self._lifetimes.advance(end_us))

    def _advance(self, begin_us: int, end_us: int) -> EventBatch:
        begins, ends = self._presence(begin_us, end_us)
        views = draw_views(self._population, self._draw, begins, ends)
        before = self._state.pair, self._state.last.copy()
        bought, replenishments = self._purchase(ends, views)
        events = self._pending_events(views, bought, replenishments)
        if self._oracle is not None:
            events = self._oracle.predict(events, *before)
        self._state.drop(self._lifetimes.advance(end_us))
        ordered = PendingEvents.concatenate((self._carried, events)).in_time_order()
        ready = int(np.searchsorted(ordered.timestamp_us, end_us))
        self._carried = ordered.take(slice(ready, None))
        return self._batch(ordered.take(slice(ready)))

    def _presence(self, begin_us: int, end_us: int) -> tuple[Floats, Floats]:
        segment = self._population.users.segment
        begins = np.maximum(self._clock.read_all(begin_us)[segment], self._lifetimes.birth)
        ends = np.minimum(self._clock.read_all(end_us)[segment], self._lifetimes.death)
        return begins, np.maximum(begins, ends)

    def _purchase(self, ends: Floats, views: SessionViews) -> tuple[Indices, Replenishments]:
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
        replenished.append(state.replenish(np.arange(len(state.pair)), ends[state.user]))
        return np.concatenate(bought), Replenishments.concatenate(replenished)

    def _pending_events(
        self, views: SessionViews, bought: Indices, replenishments: Replenishments
    ) -> PendingEvents:
        user, product = np.divmod(replenishments.pair, self._population.config.products)
        when = replenishments.activity_time
        viewed = np.flatnonzero(self._draw.random(len(user)) < VIEWED_FIRST)
        delay = np.zeros(len(user), dtype=np.int64)
        delay[viewed] = self._checkout_delay(len(viewed))
        sold = views.take(bought)
        sold_delay = sold.delay_us + self._checkout_delay(len(sold))

        def pending(
            kind: int, users: Indices, products: Indices, began: Floats, delay_us: Indices
        ) -> PendingEvents:
            return PendingEvents(
                user=users,
                product=products,
                event_type=np.full(len(users), kind, dtype=np.uint8),
                activity_time=began,
                timestamp_us=self._clock.instant(self._population.users.segment[users], began) + delay_us,
                probability=np.full(len(users), np.nan),
            )

        return PendingEvents.concatenate(
            (
                pending(VIEW, views.user, views.product, views.activity_time, views.delay_us),
                pending(PURCHASE, sold.user, sold.product, sold.activity_time, sold_delay),
                pending(VIEW, user[viewed], product[viewed], when[viewed], np.zeros_like(viewed)),
                pending(PURCHASE, user, product, when, delay),
            )
        )

    def _checkout_delay(self, count: int) -> Indices:
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


class CustomerLifetimes:
    """The current lifetime of each user, or the next one, as times of the user's activity clock.

    Lifetimes begin, end by churn, and begin again after a long absence. They are drawn by hashing (seed, user, number
    of the lifetime) from the calendar's first day on, so the same users are customers wherever a stream starts.
    """

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


def slice_us(users: int) -> int:
    """Return the length of a slice, a whole number of hours up to a week, for about 100,000 events.

    With very many users a slice is longer: a pass over the purchase state costs as much as users have pairs, so
    it comes at most once per quarter of an event per user.
    """
    events = max(_EVENTS_PER_SLICE, users // 4)
    hours = int(events / (users * _EVENTS_PER_USER_DAY / 24))
    return min(max(hours, 1), 168) * HOUR_US
