"""The closed form of the truth against the process it is the probability of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.shop.oracle import PurchaseRisks, erlang_survival, purchase_probability, replenishment_rate


def risks(
    *, age: float, advance: float, churn: float, browsing: float, repeat: float, cycle: float, regularity: int
) -> PurchaseRisks:
    one = (np.array([value]) for value in (age, advance, churn, browsing, repeat, cycle))
    return PurchaseRisks(*one, regularity=np.array([regularity]))


risks_strategy = st.builds(
    risks,
    age=st.floats(0.0, 60.0),
    advance=st.floats(0.01, 180.0),
    churn=st.floats(1e-4, 0.02),
    browsing=st.floats(0.0, 0.1),
    repeat=st.floats(0.0, 0.99),
    cycle=st.floats(5.0, 500.0),
    regularity=st.integers(1, 25),
)


def by_integration(known: PurchaseRisks) -> float:
    """Sum the first purchase's density over small steps, from the competing rates."""
    steps = np.linspace(0.0, float(known.advance[0]), 40_001)
    middle = (steps[:-1] + steps[1:]) / 2
    stages, repeat = known.regularity[0], known.repeat[0]

    def waiting(x: np.ndarray) -> np.ndarray:
        count = np.full(len(x), stages)
        return 1 - repeat + repeat * erlang_survival(count, x * stages / known.cycle[0])

    unbought = waiting(known.age[0] + steps) / waiting(known.age)[0] * np.exp(-known.browsing[0] * steps)
    return float((-np.diff(unbought) * np.exp(-known.churn[0] * middle)).sum())


@given(risks_strategy)
@settings(max_examples=200)
def test_closed_form_equals_the_integral_of_the_competing_rates(known: PurchaseRisks) -> None:
    assert purchase_probability(known)[0] == pytest.approx(by_integration(known), abs=2e-6)


def test_closed_form_equals_a_simulation() -> None:
    draw = np.random.default_rng(5)
    count = 400_000
    known = risks(age=9.0, advance=30.0, churn=0.01, browsing=0.02, repeat=0.8, cycle=25.0, regularity=8)
    wish = np.where(draw.random(count) < 0.8, draw.gamma(8.0, 25.0 / 8.0, count), np.inf)
    ahead = wish[wish > 9.0] - 9.0
    first = np.minimum(ahead, draw.exponential(1 / 0.02, len(ahead)))
    bought = (first < 30.0) & (first < draw.exponential(1 / 0.01, len(ahead)))
    error = np.sqrt(bought.var() / len(bought))
    assert purchase_probability(known)[0] == pytest.approx(bought.mean(), abs=4 * error)


def test_without_an_earlier_purchase_only_browsing_counts() -> None:
    known = risks(age=np.inf, advance=30.0, churn=0.01, browsing=0.03, repeat=0.9, cycle=20.0, regularity=8)
    assert purchase_probability(known)[0] == pytest.approx(0.75 * (1 - np.exp(-0.04 * 30.0)))


def test_replenishment_rate_is_the_hazard_of_the_time_to_the_wish() -> None:
    age, step = 14.0, 1e-5

    def left(x: float) -> float:
        return float(0.3 + 0.7 * erlang_survival(np.array([6]), np.array([x * 6 / 20.0]))[0])

    known = risks(age=age, advance=1.0, churn=0.01, browsing=0.0, repeat=0.7, cycle=20.0, regularity=6)
    assert replenishment_rate(known)[0] == pytest.approx(
        (left(age - step) - left(age + step)) / (2 * step) / left(age), 1e-6
    )


def test_long_overdue_replenishment_has_a_probability() -> None:
    ages = np.array([0.0, 200.0, 5_000.0, 1e6])
    many = np.ones(len(ages))
    known = PurchaseRisks(
        ages, 30 * many, 0.002 * many, 0.01 * many, 0.8 * many, 10 * many, np.full(len(ages), 12)
    )
    probability = purchase_probability(known)
    assert np.isfinite(probability).all()
    assert ((probability >= 0) & (probability <= 1)).all()
    assert probability[2] == pytest.approx(probability[3])
