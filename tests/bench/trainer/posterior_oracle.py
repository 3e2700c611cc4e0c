"""The probability that a user buys a product within a horizon, given all events of that user up to a request's own.

It is the posterior of the shop's generator (``reprise.shop``): the hidden constants of the user and of each pair are
integrated out over a grid, so there is no sampling error.

- Known: the structure, the segments, the constants of products, and the clock of activity. An observer of 2,000 users
  can estimate them well; to know them only favours the oracle.
- Exact by conjugacy: the session rate (gamma) and the affinity to categories (Dirichlet), given the sessions.
- On a grid: segment, conversion, loyalty, the user's cycle factor, and each pair's, all pairs of a user jointly.
  Hours of events tell the segment, and so do numbers of views (the probability of the set of a session is in closed
  form), the time alive, conversions and cycles.
- Mixtures: a view that may be the first of a session or precede a replenishment, and a purchase after a lone view.
  What such an event says of the session rate is weighed by its posterior when its session is over.
- Before the history: an unbought pair may have been bought in the ``WARM_UP_DAYS`` before it, with the need pending
  or not. A purchase that only such a need explains restarts the pair's time and tells nothing else. Users whose first
  event is late may have joined late. A user with an event is alive; a second lifetime within the history is left out,
  because it takes an absence of 180 days.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from reprise.shop.activity_clock import ActivityClock
from reprise.shop.columns import Floats, Indices
from reprise.shop.config import CATEGORIES, HOUR_US, SEGMENTS
from reprise.shop.event_batch import VIEW
from reprise.shop.oracle import (
    VIEWED_FIRST,
    PurchaseRisks,
    erlang_survival,
    purchase_probability,
    replenishment_rate,
)
from reprise.shop.population import (
    AFFINITY_CONCENTRATION,
    CONVERSION_SPREAD,
    CYCLE_SPREAD,
    LOYALTY_SPREAD,
    MAX_CONVERSION,
    PAIR_SPREAD,
    SESSIONS_SHAPE,
    Products,
)
from reprise.shop.shop import WARM_UP_DAYS

MEAN_ABSENCE_DAYS = 360.0
VIEW_GAP_US = 240_000_000
"""Longest time between two views of a session."""
CHECKOUT_US = 31 * 60_000_000
"""Longest time from a view to its purchase."""
SEGMENT_NUMBERS = np.arange(len(SEGMENTS))
SHARE, RATE, FURTHER, CONVERSION, LOYALTY, LIFETIME = (
    np.array([getattr(segment, name) for segment in SEGMENTS])
    for name in ("share", "sessions_per_day", "further_views", "conversion", "loyalty", "lifetime_days")
)
CHURN = 1 / LIFETIME
ALIVE = LIFETIME / (LIFETIME + MEAN_ABSENCE_DAYS)
CONCENTRATION = AFFINITY_CONCENTRATION * np.array([category.weight for category in CATEGORIES])


class Nodes:
    """The grid: log-odds of loyalty, and logarithms of the user's cycle factor, the pair's, and the conversion."""

    def __init__(self, step: float = 1.0) -> None:
        self.loyalty = _grid(LOYALTY.min() - 1.4, LOYALTY.max() + 1.4, 0.4 * step)
        self.user = _grid(-0.8, 0.8, 0.08 * step)
        self.pair = _grid(-1.3, 1.3, 0.08 * step)
        self.conversion = _grid(-1.2, 1.2, 0.15 * step)
        self.loyalty_prior = _log_normal_weights(self.loyalty, LOYALTY[:, None], LOYALTY_SPREAD)
        self.user_prior = _log_normal_weights(self.user, 0.0, CYCLE_SPREAD)
        self.pair_given_user = np.exp(_log_normal_weights(self.pair, self.user[:, None], PAIR_SPREAD))
        centres = np.log(CONVERSION)[:, None]
        self.conversion_prior = _log_normal_weights(self.conversion, centres, CONVERSION_SPREAD)

    @property
    def pair_shape(self) -> tuple[int, int, int]:
        return len(SEGMENTS), len(self.pair), len(self.loyalty)


@dataclass(slots=True)
class Session:
    """Views of one category, close in time, and which of them were bought."""

    category: int
    first_us: int
    last_us: int
    products: list[int]
    bought: list[int] = field(default_factory=list)
    browsing: float = 1.0  # probability that it is a browsing session, and no view before a replenishment


class Joint(NamedTuple):
    """The posterior of a user at an instant."""

    segment: Floats  # log weights (segments,)
    pair: Floats  # log likelihoods of each bought pair (pairs, segments, pair nodes, loyalty)
    by_user: Floats  # the same given the user's factor (pairs, segments, user nodes, loyalty)
    user: Floats  # log weights given the segment, not normalised (segments, user nodes, loyalty)
    conversion: Floats  # weights given the segment (segments, conversion nodes)
    rate: Floats  # scale of the session rate's gamma distribution, shop days (segments,)
    old: Floats  # probability that the user was alive when the history began (segments,)


class PosteriorOracle:
    """The posterior for one user at a time."""

    def __init__(
        self, products: Products, start_us: int, horizon_us: int, nodes: Nodes | None = None
    ) -> None:
        self.products = products
        self.horizon_us = horizon_us
        self.nodes = nodes or Nodes()
        self._clock = ActivityClock(start_us)
        self.start = self._clock.read_all(start_us)
        seen = products.popularity
        self.browsed = 1 - (1 - seen) * np.exp(-np.outer(FURTHER, seen))  # sessions of its category with it
        self.repeat = expit(products.repeat[:, None] + self.nodes.loyalty)

    def predict(
        self, product: Indices, event_type: Indices, timestamp_us: Indices, wanted: npt.NDArray[np.bool_]
    ) -> Floats:
        """Return the probability at each wanted event of one user, NaN at the others; events are in time order."""
        user = _User(self)
        probability = np.full(len(product), np.nan)
        readings = self._readings(timestamp_us)
        ends = self._readings(timestamp_us + self.horizon_us)
        hours = timestamp_us // HOUR_US * HOUR_US
        activity = np.log(24 * (self._readings(hours + HOUR_US) - self._readings(hours)))
        for at in range(len(product)):
            event = _Event(int(product[at]), int(timestamp_us[at]), readings[at], ends[at], activity[at])
            if event_type[at] == VIEW:
                found = user.view(event, bool(wanted[at]))
            else:
                found = user.purchase(event, bool(wanted[at]))
            probability[at] = found
        return probability

    def _readings(self, instants: Indices) -> Floats:
        return np.column_stack(
            [self._clock.read(np.full(len(instants), number), instants) for number in SEGMENT_NUMBERS]
        )


class _Event(NamedTuple):
    product: int
    us: int
    reading: Floats  # activity time of each segment
    end: Floats  # the same at the end of the horizon
    activity: Floats  # log of each segment's activity


class _User:
    def __init__(self, oracle: PosteriorOracle) -> None:
        self._oracle, self._nodes, self._products = oracle, oracle.nodes, oracle.products
        self._first: Floats | None = None
        self._sessions = 0.0
        self._categories = CONCENTRATION.copy()
        self._segment = np.log(SHARE)
        self._conversion = np.zeros(len(self._nodes.conversion))
        self._unconverted: dict[int, int] = {}
        self._open: list[tuple[Session, _Event]] = []
        self._cached: Joint | None = None
        self._cached_us = 0
        self._row: dict[int, int] = {}
        self._bought = np.zeros(0, dtype=np.int64)
        self._last = np.zeros((0, len(SEGMENTS)))
        self._intervals = np.zeros((0, *self._nodes.pair_shape))

    def view(self, event: _Event, wanted: bool) -> float:
        self._close_sessions(event)
        category = int(self._products.category[event.product])
        session = next(
            (
                each
                for each, _ in reversed(self._open)
                if each.category == category
                and event.us - each.last_us <= VIEW_GAP_US
                and event.product not in each.products
            ),
            None,
        )
        following = session is not None
        if session is None:
            session = Session(category, event.us, event.us, [])
            self._open.append((session, event))
        found = self._probability_at_view(event, following) if wanted else np.nan
        session.products.append(event.product)
        session.last_us = event.us
        return found

    def purchase(self, event: _Event, wanted: bool) -> float:
        self._close_sessions(event)
        product = event.product
        session, first = next(
            (
                (each, first)
                for each, first in reversed(self._open)
                if product in each.products and product not in each.bought
            ),
            (None, event),
        )
        row = self._row.get(product)
        if session is None:
            self._segment = self._segment + event.activity
            self._cached = None
        if row is None:
            self._add(product)
            row = self._row[product]
            if session is not None and len(session.products) == 1:
                session.browsing = self._browsing_share_of_first(product, first)
        elif session is not None and len(session.products) > 1:
            self._intervals[row] += self._log_survival(row, first.reading)
        else:
            density = self._density(row, first.reading)
            if session is None:
                self._intervals[row] += np.log(density * (1 - VIEWED_FIRST) + 1e-300)
            else:
                session.browsing = self._weigh(row, first, density)
        self._intervals[row] -= self._intervals[row].max()
        self._last[row] = first.reading
        self._cached = None
        if session is not None:
            session.bought.append(product)
        return self._probability_after_purchase(event, row, session, first) if wanted else np.nan

    def _weigh(self, row: int, first: _Event, density: Floats) -> float:
        """Add a purchase after a lone view to its pair's likelihood; return the probability that it was browsing."""
        product = int(self._bought[row])
        joint = self._joint(first)
        chance = self._chances(joint.conversion, product)[0] * self._products.satiation[product]
        rate = self._session_rates(joint, product, self._products.popularity[product])
        alone = np.exp(-FURTHER * (1 - self._products.popularity[product]))
        browsing = np.exp(self._log_survival(row, first.reading)) * (rate * alone * chance)[:, None, None]
        posterior = self._pair_weights(joint, row, self._intervals[row] - self._intervals[row].max())
        replenishing = VIEWED_FIRST * density
        self._intervals[row] += np.log(browsing + replenishing + 1e-300)
        bought = (posterior * browsing).sum()
        return float(bought / (bought + (posterior * replenishing).sum() + 1e-300))

    def _browsing_share_of_first(self, product: int, first: _Event) -> float:
        joint = self._joint(first)
        weights = np.exp(joint.segment - _log_sum(joint.segment))
        density = self._need_from_before(joint, product, first.reading)[1] * self._renewals(joint, product)
        seen = self._products.popularity[product]
        chance = self._chances(joint.conversion, product)[0]
        browsing = weights @ (seen * np.exp(-FURTHER * (1 - seen)) * chance)
        before = density * self._oracle.browsed[:, product] * chance * joint.old
        replenishing = VIEWED_FIRST * (weights @ before)
        return float(browsing / (browsing + replenishing))

    def _probability_at_view(self, event: _Event, following: bool) -> float:
        """Return the probability; a ``following`` view is not the first of its session, so it is browsing."""
        product = event.product
        joint = self._joint(event)
        started = self._session_rates(joint, product, self._products.popularity[product])
        later = self._session_rates(joint, product, self._oracle.browsed[:, product], extra=1)
        if product in self._row:
            return self._at_view_of_bought(event, joint, started, later, following)
        return self._at_view_of_unbought(event, joint, started, later, following)

    def _at_view_of_bought(
        self, event: _Event, joint: Joint, started: Floats, later: Floats, following: bool
    ) -> float:
        row = self._row[event.product]
        chance = self._chances(joint.conversion, event.product)[0]
        weights = self._pair_weights(joint, row, joint.pair[row]) * np.exp(event.activity)[:, None, None]
        index, risks = self._risks(row, weights, event, later * chance)
        chosen = weights.ravel()[index]
        segment = np.unravel_index(index, weights.shape)[0]
        chance = (chance * self._products.satiation[event.product])[segment]
        probability = chance + (1 - chance) * purchase_probability(risks)
        replenishing = 0.0 if following else VIEWED_FIRST * replenishment_rate(risks)
        browsing = started[segment]
        top = chosen @ (replenishing + browsing * probability)
        return float(top / (chosen @ (replenishing + browsing)))

    def _at_view_of_unbought(
        self, event: _Event, joint: Joint, started: Floats, later: Floats, following: bool
    ) -> float:
        product = event.product
        chance, chance_squared = self._chances(joint.conversion, product)
        satiation = self._products.satiation[product]
        weights = joint.segment + event.activity + np.log(started)
        weights = np.exp(weights - _log_sum(weights))
        waiting, density = self._need_from_before(joint, product, event.reading)
        waiting = np.maximum(waiting, 1e-12)
        never, satiated, pending = self._past(joint, product, waiting, later * chance)
        within = 1 - self._need_from_before(joint, product, event.end)[0] / waiting
        replenishing = pending * VIEWED_FIRST * density / waiting / started * (not following)
        advance = -np.expm1(-CHURN * (event.end - event.reading)) / CHURN
        variation = self._variation(chance, chance_squared, product)
        fresh = chance + (1 - chance) * _mixed_poisson(later * chance * advance, variation)
        dull = 1 - (1 - satiation * chance) * np.exp(-later * chance * satiation * advance)
        needing = dull + (1 - dull) * within
        browsing = never * fresh + satiated * dull + pending * needing
        return float(weights @ (browsing + replenishing) / (1 + weights @ replenishing))

    def _probability_after_purchase(
        self, event: _Event, row: int, session: Session | None, first: _Event
    ) -> float:
        joint = self._joint(event)
        product = event.product
        weights = self._pair_weights(joint, row, joint.pair[row])
        if session is not None:
            weights = weights * np.exp(first.activity)[:, None, None]
        chance = self._chances(joint.conversion, product)[0]
        later = self._session_rates(joint, product, self._oracle.browsed[:, product])
        index, risks = self._risks(row, weights, event, later * chance)
        chosen = weights.ravel()[index]
        return float(chosen @ purchase_probability(risks) / chosen.sum())

    def _risks(
        self, row: int, weights: Floats, event: _Event, browsing: Floats
    ) -> tuple[Indices, PurchaseRisks]:
        """Return the nodes that have weight, and their risks; ``browsing`` is of users who never bought."""
        product = int(self._bought[row])
        index = np.flatnonzero(weights > 1e-6 * weights.max())
        segment, pair, loyalty = np.unravel_index(index, weights.shape)
        age, advance = event.reading - self._last[row], event.end - event.reading
        return index, PurchaseRisks(
            age=age[segment],
            advance=advance[segment],
            churn=CHURN[segment],
            browsing=browsing[segment] * self._products.satiation[product],
            repeat=self._oracle.repeat[product][loyalty],
            cycle=self._products.cycle[product] * np.exp(self._nodes.pair[pair]),
            regularity=np.full(len(index), self._products.regularity[product]),
        )

    def _joint(self, event: _Event) -> Joint:
        """Return the posterior at an event, or the last one if it is as good as new."""
        if self._cached is None or abs(event.us - self._cached_us) > CHECKOUT_US:
            self._cached, self._cached_us = self._compute_joint(event.reading), event.us
        return self._cached

    def _compute_joint(self, reading: Floats) -> Joint:
        nodes = self._nodes
        segment, rate, old = self._log_segment(reading)
        survived = self._survived(self._bought, reading - self._last)
        unmet = 1 - self._oracle.repeat[self._bought][:, None, None, :] * (1 - survived[..., None])
        pair = self._intervals + np.log(unmet)
        by_user = np.log(np.matmul(nodes.pair_given_user, np.exp(pair)) + 1e-300)
        user = by_user.sum(axis=0) + nodes.user_prior[:, None] + nodes.loyalty_prior[:, None, :]
        conversion = nodes.conversion_prior + self._conversion
        segment = segment + _log_sum(user, axis=(1, 2)) + _log_sum(conversion, axis=1)
        conversion = np.exp(conversion - _log_sum(conversion, axis=1, keepdims=True))
        user = user - _log_sum(user, axis=(1, 2), keepdims=True)
        return Joint(segment, pair, by_user, user, conversion, rate, old)

    def _log_segment(self, reading: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the log weights by sessions and time alive, the rate's scale, and P(alive at the start)."""
        first = reading if self._first is None else self._first
        shape = SESSIONS_SHAPE + self._sessions
        silent, span = first - self._oracle.start, reading - first
        prior = SESSIONS_SHAPE / RATE
        rate = shape / (prior + span)
        total = rate + CHURN
        gone = -np.expm1(-total * silent)
        old = ALIVE * np.exp(-total * silent)
        new = (1 - ALIVE) / MEAN_ABSENCE_DAYS * gone / total
        lag = 1 / total - silent * np.exp(-total * silent) / np.maximum(gone, 1e-12)
        old_share = old / (old + new)
        waited = np.where(silent > 0, old_share * silent + (1 - old_share) * np.maximum(lag, 0), 0.0)
        scale = prior + span + waited
        weight = self._segment + np.log(old + new) + rate * waited - CHURN * span
        weight = weight + SESSIONS_SHAPE * np.log(prior) - shape * np.log(scale)
        return weight, scale, old_share

    def _pair_weights(self, joint: Joint, row: int, own: Floats) -> Floats:
        """Return the posterior of a bought pair's nodes, with ``own`` as the pair's log likelihood."""
        others = joint.user - joint.by_user[row] + (joint.segment - joint.segment.max())[:, None, None]
        others = np.exp(others - others.max())
        weights = np.matmul(self._nodes.pair_given_user.T, others) * np.exp(own - own.max())
        result: Floats = weights / weights.sum()
        return result

    def _session_rates(self, joint: Joint, product: int, share: Floats | float, extra: int = 0) -> Floats:
        """Return mean sessions per shop day with the product, by segment, after ``extra`` more of its category."""
        category = self._products.category[product]
        rate = (SESSIONS_SHAPE + self._sessions + extra) / joint.rate
        affinity = (self._categories[category] + extra) / (self._categories.sum() + extra)
        return np.asarray(rate * affinity * share)

    def _chances(self, conversion: Floats, product: int) -> tuple[Floats, Floats]:
        """Return the mean and the mean square of a browsed product's conversion, by segment."""
        chance = self._chance(product)
        return conversion @ chance, conversion @ chance**2

    def _chance(self, product: int) -> Floats:
        return np.minimum(np.exp(self._nodes.conversion) * self._products.conversion[product], MAX_CONVERSION)

    def _variation(self, chance: Floats, chance_squared: Floats, product: int) -> Floats:
        """Return the squared coefficient of variation of the rate of browsing purchases, by segment."""
        sessions = SESSIONS_SHAPE + self._sessions + 1
        own, total = self._categories[self._products.category[product]] + 1, self._categories.sum() + 1
        affinity = (own + 1) * total / (own * (total + 1))
        return np.asarray((1 + 1 / sessions) * affinity * chance_squared / chance**2 - 1)

    def _past(
        self, joint: Joint, product: int, waiting: Floats, browsing: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Return P(never bought), P(bought before the history, no need), P(… and the need is pending), by segment."""
        before = -np.expm1(-browsing * _days_before()) * joint.old
        satiation = self._products.satiation[product]
        chance = self._chances(joint.conversion, product)[0]
        views = self._unconverted.get(product, 0)
        dull = np.exp(views * (np.log1p(-satiation * chance) - np.log1p(-chance)))
        renewed = self._renewals(joint, product)
        pending = np.minimum(browsing * renewed * waiting * joint.old, before)
        satiated = np.maximum(before - browsing * renewed * joint.old, 0) * dull
        pending = pending * dull
        total = 1 - before + satiated + pending
        return (1 - before) / total, satiated / total, pending / total

    def _renewals(self, joint: Joint, product: int) -> Floats:
        """Return, by segment, shop days with a pending need at the history's start per unit of browsing purchases."""
        repeat = np.exp(joint.user).sum(axis=1) @ self._oracle.repeat[product]
        cycle = self._products.cycle[product] * np.exp(np.exp(joint.user).sum(axis=2) @ self._nodes.user)
        turns = _days_before() / cycle
        whole = np.floor(turns)
        return np.asarray(
            cycle * (repeat * (1 - repeat**whole) / (1 - repeat) + (turns - whole) * repeat ** (whole + 1))
        )

    def _need_from_before(self, joint: Joint, product: int, reading: Floats) -> tuple[Floats, Floats]:
        """Return, of a need that was pending at the history's start, P(it still waits) and its density, by segment.

        It comes after the residual time of a stationary renewal process.
        """
        stages = int(self._products.regularity[product])
        cycle = self._products.cycle[product] * np.exp(self._nodes.pair)
        weights = np.exp(joint.user).sum(axis=2) @ self._nodes.pair_given_user
        x = (reading - self._oracle.start)[:, None] * stages / cycle
        survival = erlang_survival(np.full(x.size, stages), x.ravel()).reshape(x.shape)
        waiting, term = np.zeros_like(x), np.exp(-x)
        for stage in range(stages):
            waiting += (stages - stage) / stages * term
            term = term * x / (stage + 1)
        return (weights * waiting).sum(axis=1), (weights * survival / cycle).sum(axis=1)

    def _survived(self, products: Indices, age: Floats) -> Floats:
        """Return the Erlang survival at each age (products, segments), over the pair's nodes."""
        stages = self._products.regularity[products]
        beta = stages[:, None] / (self._products.cycle[products][:, None] * np.exp(self._nodes.pair))
        x = np.maximum(age, 0.0)[:, :, None] * beta[:, None, :]
        if not x.size:
            return x
        counts = np.broadcast_to(stages[:, None, None], x.shape).ravel()
        return erlang_survival(counts, x.ravel()).reshape(x.shape)

    def _log_survival(self, row: int, reading: Floats) -> Floats:
        product = self._bought[row : row + 1]
        survived = self._survived(product, reading - self._last[row : row + 1])[0]
        return np.asarray(np.log1p(-self._oracle.repeat[product[0]] * (1 - survived[..., None])))

    def _density(self, row: int, reading: Floats) -> Floats:
        """Return the density of a replenishment at a reading since the pair's last purchase (the pair's nodes)."""
        product = int(self._bought[row])
        stages = float(self._products.regularity[product])
        beta = stages / (self._products.cycle[product] * np.exp(self._nodes.pair))
        x = np.maximum(reading - self._last[row], 1e-9)[:, None] * beta
        density = beta * np.exp((stages - 1) * np.log(x) - x - np.log(np.arange(1, stages)).sum())
        return np.asarray(density[..., None] * self._oracle.repeat[product])

    def _add(self, product: int) -> None:
        self._cached = None
        self._row[product] = len(self._bought)
        self._bought = np.append(self._bought, product)
        self._last = np.append(self._last, np.zeros((1, len(SEGMENTS))), axis=0)
        self._intervals = np.append(self._intervals, np.zeros((1, *self._nodes.pair_shape)), axis=0)

    def _close_sessions(self, event: _Event) -> None:
        if self._first is None:
            self._first = event.reading
        still = []
        for session, first in self._open:
            if event.us - session.last_us <= CHECKOUT_US:
                still.append((session, first))
            else:
                self._close(session, first)
        self._open = still

    def _close(self, session: Session, first: _Event) -> None:
        """Count a session that is over."""
        self._cached = None
        share = 1.0 if len(session.products) > 1 else session.browsing
        seen = self._products.popularity[session.products]
        self._sessions += share
        self._categories[session.category] += share
        missed = -np.expm1(-np.outer(FURTHER, seen))
        chosen = np.log(missed).sum(axis=1) + np.log((seen / missed).sum(axis=1))
        self._segment = self._segment + first.activity + share * (chosen - FURTHER * (1 - seen.sum()))
        for product in session.products:
            chance = self._chance(product)
            if product in session.bought:
                self._conversion += share * np.log(chance)
                continue
            if product in self._row:
                chance = chance * self._products.satiation[product]
            else:
                self._unconverted[product] = self._unconverted.get(product, 0) + 1
            self._conversion += np.log1p(-chance)


def _days_before() -> Floats:
    """Return the mean shop days that users alive at the history's start had been alive within the warm-up."""
    return np.asarray(-np.expm1(-CHURN * WARM_UP_DAYS) / CHURN)


def _mixed_poisson(mean: Floats, variation: Floats) -> Floats:
    """Return P(not 0) of a Poisson number whose rate is gamma distributed."""
    variation = np.maximum(variation, 1e-9)
    return np.asarray(-np.expm1(-np.log1p(variation * mean) / variation))


def _log_sum(logarithms: Floats, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Floats:
    """Return the logarithm of the sum; SciPy's ``logsumexp`` takes half of the time of this module."""
    return np.asarray(np.logaddexp.reduce(logarithms, axis=axis, keepdims=keepdims))  # type: ignore[call-overload]


def _grid(low: float, high: float, step: float) -> Floats:
    return np.linspace(low, high, round((high - low) / step) + 1)


def _log_normal_weights(nodes: Floats, mean: Floats | float, deviation: float) -> Floats:
    exponent = -0.5 * ((nodes - mean) / deviation) ** 2
    return np.asarray(exponent - _log_sum(exponent, axis=-1, keepdims=True))


def by_user(users: Indices) -> Iterator[tuple[int, Indices]]:
    """Yield each user with the rows of that user, in their order."""
    order = np.argsort(users, kind="stable")
    found, starts = np.unique(users[order], return_index=True)
    for user, rows in zip(found, np.split(order, starts[1:]), strict=True):
        yield int(user), rows
