"""The generator's own probability that a user buys a product within a horizon.

For one user and product, on the user's activity clock (``activity_clock``), three things run independently:

- *churn*, after an exponential time of rate δ;
- *browsing purchases*, a Poisson process of rate λ;
- *replenishment*: after the last purchase, the need to buy again comes with probability r, after an Erlang(k, β)
  time. Given that it has not come by age a, what is left of it is S(a) of S(x) = 1 − r + r·S_E(x).

With θ = δ + λ, the clock's advance w over the horizon and b = a + w, the probability of a first purchase
before both churn and the horizon's end is

    P = (λ/θ)·(1 − Q) + (δ/θ)·I,    Q = exp(−θ·w)·S(b)/S(a),
    I = exp(θ·a)/S(a) · r · ∫ₐᵇ exp(−θ·x) f_E(x) dx,

which follows by integrating the competing rates by parts. The integral is an exponentially tilted Erlang:
(β/(β+θ))^k · (S_{k,β+θ}(a) − S_{k,β+θ}(b)).

Neither the existence of the need nor the reason for a view is taken as known: both are inferred by Bayes from earlier
purchases. So the probability is conditional on the hidden constants (affinity, cycle, churn rate, …), on the time
since the pair's last purchase and on the kind of the event, but on nothing else, not even the rest of the session.
No observer knows the constants. The minutes of a session count as an instant.
"""

from dataclasses import dataclass, replace

import numpy as np

from reprise.shop.activity_clock import ActivityClock
from reprise.shop.columns import Columns, Floats, Indices
from reprise.shop.event_batch import VIEW, PendingEvents
from reprise.shop.population import Population

VIEWED_FIRST = 0.35
"""Share of the replenishment purchases that follow a view of the product."""


@dataclass(frozen=True, slots=True)
class PurchaseRisks(Columns):
    """The competing risks of a user and a product at an instant."""

    age: Floats  # shop days since the pair's last purchase; +inf if there was none
    advance: Floats  # shop days from the instant to the end of the horizon
    churn: Floats  # δ, per shop day
    browsing: Floats  # λ, browsing purchases per shop day
    repeat: Floats  # r, the probability that a purchase is followed by replenishment
    cycle: Floats  # mean shop days until replenishment, k/β
    regularity: Indices  # k


class Oracle:
    """The probability of a purchase of an event's pair within a horizon after the event."""

    def __init__(self, population: Population, clock: ActivityClock, horizon_us: int) -> None:
        self._population = population
        self._clock = clock
        self._horizon_us = horizon_us

    def predict(self, events: PendingEvents, pairs: Indices, last: Floats) -> PendingEvents:
        """Return the events with their probabilities.

        Args:
            events: All events of a slice.
            pairs: The pairs bought before the slice, ascending.
            last: Activity time of the last purchase of each of them before the slice.
        """
        risks = self._risks(events, _last_purchase(self._population, events, pairs, last))
        probability = purchase_probability(risks)
        viewed = np.flatnonzero(events.event_type == VIEW)
        probability[viewed] = self._after_view(events, risks, probability, viewed)
        return replace(events, probability=probability)

    def _risks(self, events: PendingEvents, last: Floats) -> PurchaseRisks:
        population, user, product = self._population, events.user, events.product
        segment = population.users.segment[user]
        now = self._clock.read(segment, events.timestamp_us)
        end = self._clock.read(segment, events.timestamp_us + self._horizon_us)
        satiation = np.where(np.isfinite(last), population.products.satiation[product], 1.0)
        return PurchaseRisks(
            age=events.activity_time - last,
            advance=end - now,
            churn=population.users.churn[user],
            browsing=population.browsing(user, product) * population.conversion(user, product) * satiation,
            repeat=population.repeat(user, product),
            cycle=population.cycle(user, product),
            regularity=population.products.regularity[product],
        )

    def _after_view(
        self, events: PendingEvents, risks: PurchaseRisks, later: Floats, viewed: Indices
    ) -> Floats:
        """Return the probability at views: a view may precede a replenishment or a browsing purchase, or neither."""
        browsing = self._population.browsing(events.user[viewed], events.product[viewed])
        replenishing = VIEWED_FIRST * replenishment_rate(risks.take(viewed))
        replenishment = replenishing / (replenishing + browsing)
        converted = risks.browsing[viewed] / browsing
        return np.asarray(replenishment + (1 - replenishment) * (converted + (1 - converted) * later[viewed]))


def purchase_probability(risks: PurchaseRisks) -> Floats:
    """Return the probability of a purchase of the pair in (t, t + horizon], per element."""
    total = risks.churn + risks.browsing
    survival = np.exp(-total * risks.advance)
    probability = risks.browsing / total * (1.0 - survival)
    rows = np.flatnonzero(np.isfinite(risks.age))
    if len(rows):
        probability[rows] = _with_replenishment(risks.take(rows), total[rows], survival[rows])
    return np.clip(probability, 0.0, 1.0)


def replenishment_rate(risks: PurchaseRisks) -> Floats:
    """Return the hazard rate of replenishment, per shop day, given that it has not come yet."""
    rate = np.zeros(len(risks))
    rows = np.flatnonzero(np.isfinite(risks.age) & (risks.age > 0.0))
    if len(rows):
        some = risks.take(rows)
        stages = some.regularity.astype(np.float64)
        beta = stages / some.cycle
        x = beta * some.age
        density = beta * np.exp((stages - 1) * np.log(x) - x - _log_factorial(some.regularity - 1))
        survival = 1.0 - some.repeat + some.repeat * erlang_survival(some.regularity, x)
        rate[rows] = some.repeat * density / survival
    return rate


def erlang_survival(stages: Indices, x: Floats, shift: Floats | float = 0.0) -> Floats:
    """Return exp(shift − x) · Σ x^j/j! for j below the number of stages.

    Without a shift, it is the probability that the stages, of rate 1, have not passed by x.
    """
    term = np.exp(shift - x)
    total = np.zeros(len(x))
    for stage in range(int(stages.max())):
        total += np.where(stage < stages, term, 0.0)
        term = term * x / (stage + 1)
    return total


def _with_replenishment(risks: PurchaseRisks, total: Floats, survival: Floats) -> Floats:
    stages = risks.regularity
    beta = stages / risks.cycle
    end = risks.age + risks.advance
    now_left = 1.0 - risks.repeat + risks.repeat * erlang_survival(stages, beta * risks.age)
    end_left = 1.0 - risks.repeat + risks.repeat * erlang_survival(stages, beta * end)
    tilted = beta + total
    shift = total * risks.age
    mass = erlang_survival(stages, tilted * risks.age, shift) - erlang_survival(stages, tilted * end, shift)
    replenished = risks.repeat * (beta / tilted) ** stages * mass / now_left
    unbought = survival * end_left / now_left
    return (risks.browsing * (1.0 - unbought) + risks.churn * replenished) / total


def _log_factorial(number: Indices) -> Floats:
    table = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, int(number.max()) + 1, dtype=np.float64)))))
    return table[number]


def _last_purchase(population: Population, events: PendingEvents, pairs: Indices, last: Floats) -> Floats:
    """Return the activity time of the pair's last purchase up to and with each event, −inf if there is none."""
    pair = population.pair(events.user, events.product)
    order = np.lexsort((events.event_type, events.activity_time, pair))
    pair = pair[order]
    position = np.arange(len(pair))
    first = np.ones(len(pair), dtype=np.bool_)
    first[1:] = pair[1:] != pair[:-1]
    latest = np.maximum.accumulate(np.where(events.event_type[order] == VIEW, -1, position))
    start = np.maximum.accumulate(np.where(first, position, 0))
    before = np.full(len(pair), -np.inf)
    if len(pairs):
        row = np.minimum(np.searchsorted(pairs, pair), len(pairs) - 1)
        before = np.where(pairs[row] == pair, last[row], -np.inf)
    result = np.empty(len(pair))
    result[order] = np.where(latest >= start, events.activity_time[order][np.maximum(latest, 0)], before)
    return result
