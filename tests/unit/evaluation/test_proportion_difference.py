"""Intervals of differences contain the truth as often as they promise: small holdouts, rare purchases, skewed spend."""

import math

import numpy as np
import pytest

from reprise.evaluation.proportion_difference import Group, share_difference, spend_difference

RUNS = 4_000
LEAST = 0.94
"""A share of 0.95 in 4,000 runs has a standard error of 0.0034."""


@pytest.mark.parametrize("held_out", [50, 200, 1_000])
@pytest.mark.parametrize("share", [0.003, 0.01, 0.05])
@pytest.mark.parametrize("lift", [0.0, 0.5])
def test_the_difference_of_shares_is_covered_where_the_usual_interval_fails(
    held_out: int, share: float, lift: float
) -> None:
    rng, treated = np.random.default_rng(held_out), 9 * held_out
    truth = share * lift
    bought = rng.binomial(treated, share + truth, RUNS), rng.binomial(held_out, share, RUNS)
    covered = wald = 0
    for mine, theirs in zip(*bought, strict=True):
        found = share_difference(Group(treated, int(mine)), Group(held_out, int(theirs)))
        assert found.value == pytest.approx(mine / treated - theirs / held_out)
        covered += found.lower <= truth <= found.upper
        p, q = mine / treated, theirs / held_out
        error = 1.96 * math.sqrt(p * (1 - p) / treated + q * (1 - q) / held_out)
        wald += abs(p - q - truth) <= error
    assert covered / RUNS > LEAST
    if 0.4 < held_out * share < 1 and not lift:
        assert wald / RUNS < 0.8


def test_the_interval_is_newcombes() -> None:
    # Newcombe 1998, table II: 56/70 - 48/80, and 9/10 - 3/10; method 10
    for treated, control, lower, upper in ((56, 48, 0.0524, 0.3339), (9, 3, 0.1705, 0.8090)):
        sizes = (70, 80) if treated == 56 else (10, 10)
        found = share_difference(Group(sizes[0], treated), Group(sizes[1], control))
        assert (found.lower, found.upper) == (pytest.approx(lower, abs=1e-4), pytest.approx(upper, abs=1e-4))


def test_equal_amounts_have_no_variance() -> None:
    groups = [Group(users, users, users * 0.1, users * 0.1**2) for users in range(30, 300)]
    for group in groups:
        found = spend_difference(group, groups[0])
        assert found.lower <= found.value <= found.upper
        assert found.upper - found.lower < 1e-6


def test_without_a_holdout_nothing_is_known() -> None:
    found = share_difference(Group(10, 3), Group(0, 0))
    assert math.isnan(found.value)
    assert math.isnan(found.lower)


@pytest.mark.parametrize("effect", [0.0, 0.3])
def test_the_difference_of_skewed_spend_is_covered(effect: float) -> None:
    rng, share, users = np.random.default_rng(1), 0.1, (5_400, 600)
    mean = math.exp(3 + 0.8**2 / 2)
    truth, covered, judged = share * effect * mean, 0, 0
    for _ in range(RUNS):
        groups = []
        for size, chance in zip(users, (share * (1 + effect), share), strict=True):
            amounts = rng.lognormal(3, 0.8, rng.binomial(size, chance))
            groups.append(Group(size, len(amounts), float(amounts.sum()), float((amounts**2).sum())))
        found = spend_difference(*groups)
        if not math.isnan(found.lower):
            judged += 1
            covered += found.lower <= truth <= found.upper
    assert judged > 0.9 * RUNS
    assert covered / judged > LEAST - 0.01


def test_few_buyers_give_no_interval_of_spend() -> None:
    few = Group(1_000, 29, 290.0, 3_000.0)
    many = Group(1_000, 300, 3_000.0, 31_000.0)
    found = spend_difference(many, few)
    assert found.value == pytest.approx(2.71)
    assert math.isnan(found.lower)
    assert not math.isnan(spend_difference(many, many).lower)
