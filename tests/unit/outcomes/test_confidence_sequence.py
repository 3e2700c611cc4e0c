from dataclasses import replace

import numpy as np
import pytest

from reprise.outcomes.comparison.confidence_sequence import (
    Estimates,
    Moments,
    SequentialTest,
    Verdict,
    arm_difference,
    combined_verdict,
    paired_difference,
    sequence_verdict,
)
from reprise.outcomes.comparison.metric_tests import Margin
from support.sequential_trials import (
    EFFECTS,
    PAGE,
    PAIRED,
    Trial,
    cells,
    conversion_table,
    conversion_trials,
    paired_trials,
    restarted_trials,
)

TEST = SequentialTest()
# The variance floor must keep the promise alone, before there are enough conversions.
EAGER = SequentialTest(min_users=30, min_conversions=0)
HARDEST = [
    Trial(users_an_hour=rate_of_users, share=share, rate=rate, restarts=3)
    for rate_of_users, share, rate in [
        (60, 0.05, 0.005),
        (60, 0.05, 0.03),
        (600, 0.01, 0.005),
        (600, 0.01, 0.08),
    ]
]


@pytest.mark.parametrize("test", [TEST, EAGER], ids=["default", "eager"])
@pytest.mark.parametrize("trial", HARDEST, ids=str)
def test_equal_arms_are_called_better_or_worse_at_most_1_in_20(trial: Trial, test: SequentialTest) -> None:
    found = conversion_trials(trial, test, 400, seed=7)
    assert max(found.better, found.worse, found.missed) <= 0.05


@pytest.mark.soak
@pytest.mark.parametrize("users_an_hour", [60, 600, 6_000])
@pytest.mark.parametrize("trial", list(cells()), ids=str)
def test_no_cell_breaks_the_promise(trial: Trial, users_an_hour: int) -> None:
    trial = replace(trial, users_an_hour=users_an_hour)
    found = conversion_trials(trial, TEST, 2_000, seed=8)
    assert max(found.better, found.worse, found.missed) <= 0.05
    loss = conversion_trials(replace(trial, lift=-trial.margin), TEST, 500, seed=9)
    assert max(loss.not_worse, loss.better, loss.missed) <= 0.05


def test_differences_are_found_within_two_weeks() -> None:
    assert conversion_trials(Trial(lift=0.1), TEST, 200, seed=7).better >= 0.95
    assert conversion_trials(Trial(lift=-0.1), TEST, 200, seed=7).worse >= 0.95
    assert conversion_trials(Trial(share=0.05, rate=0.01, lift=-0.5), TEST, 200, seed=7).worse >= 0.9


def test_one_sequence_over_all_shares_finds_more_than_a_new_one_after_each_change() -> None:
    trial = Trial(share=0.1, rate=0.08, restarts=3, lift=-0.1)
    assert (
        conversion_trials(trial, TEST, 200, seed=7).worse
        > 2 * restarted_trials(trial, TEST, 200, seed=7).worse
    )


@pytest.mark.parametrize(("share", "rate"), [(0.5, 0.2), (0.5, 0.01), (0.05, 0.03)])
def test_a_candidate_worse_by_the_margin_is_called_not_worse_at_most_1_in_20(
    share: float, rate: float
) -> None:
    assert conversion_trials(Trial(share=share, rate=rate, lift=-0.1), TEST, 200, seed=7).not_worse <= 0.05


def test_a_candidate_that_loses_a_third_of_few_buyers_is_never_called_not_worse() -> None:
    for rate in (0.01, 0.005):
        assert (
            conversion_trials(Trial(users_an_hour=60, rate=rate, lift=-0.3), TEST, 200, seed=7).not_worse
            == 0.0
        )


def test_models_on_the_same_predictions_need_a_fraction_of_the_users() -> None:
    better = paired_trials(replace(PAIRED, improvement=0.002), TEST, 100, seed=7)
    assert better.better >= 0.99
    assert better.hours < 100
    for trial in (PAIRED, replace(PAIRED, rate=0.005)):
        equal = paired_trials(trial, TEST, 100, seed=7)
        assert max(equal.better, equal.worse, equal.missed) <= 0.05
    assert paired_trials(replace(PAIRED, improvement=-0.001), TEST, 100, seed=7).not_worse <= 0.05


@pytest.mark.parametrize(
    ("baseline", "candidate", "rate"),
    [(0.001, 0.003, 0.002), (0.003, 0.001, 0.002), (0.001, 0.004, 0.004), (0.003, 0.0003, 0.003)],
    ids=["equal", "equal, the other way", "candidate right", "baseline right"],
)
def test_models_that_differ_where_few_buy_are_not_judged_before_anybody_has_bought(
    baseline: float, candidate: float, rate: float
) -> None:
    """Both say 0.1 of nine tenths of the users, and differ on the others."""
    rng, shape = np.random.default_rng(7), (200, 20_000)
    differ = rng.random(shape) < 0.1
    bought = (rng.random(shape) < np.where(differ, rate, 0.1)).astype(np.float64)
    values = np.where(differ, (baseline - bought) ** 2 - (candidate - bought) ** 2, 0.0)
    mean = (baseline + candidate) / 2
    implied = np.where(differ, 4 * (baseline - candidate) ** 2 * mean * (1 - mean), 0.0)
    columns = (np.ones(shape), values, values**2, bought, (0.1 - bought) ** 2, implied)
    found = paired_difference([column.cumsum(axis=1)[:, ::50] for column in columns], TEST)
    truth = 0.1 * ((baseline - rate) ** 2 - (candidate - rate) ** 2)
    assert ((found.lower > truth) | (found.upper < truth)).any(axis=1).mean() <= 0.05


def test_published_table_has_every_cell_and_keeps_the_promise() -> None:
    lines = PAGE.read_text().splitlines()
    head = conversion_table(0, [])[0]
    rows = [line.strip("| ").split(" | ") for line in lines[lines.index(head) + 2 :][: len(list(cells()))]]
    assert [row[:3] for row in rows] == [
        [f"{trial.share:.0%}", f"{trial.rate:.1%}", str(trial.restarts)] for trial in cells()
    ]
    assert all(len(row) == 8 + 2 * len(EFFECTS) for row in rows)
    assert all(float(share.rstrip("%")) <= 5.0 for row in rows for share in (*row[3:6], row[7]))


def test_radius_is_that_of_the_paper() -> None:
    rho2 = (-2 * np.log(0.05) + np.log(-2 * np.log(0.05)) + 1) / 10_000
    t, deviation = 2_500.0, 0.3
    expected = deviation * np.sqrt(2 * (t * rho2 + 1) / (t**2 * rho2) * np.log(np.sqrt(t * rho2 + 1) / 0.05))
    assert TEST.radius(np.array(deviation), np.array(t)) == pytest.approx(expected)


def of_buyers(number: list[list[float]], bought: list[list[float]], test: SequentialTest = TEST) -> Estimates:
    buyers = np.array(bought)
    return arm_difference(Moments(np.array(number), buyers, buyers, buyers), test)


def test_an_arm_that_nobody_has_bought_in_has_the_variance_of_both() -> None:
    found = of_buyers([[9_500.0, 500.0]], [[95.0, 0.0]], EAGER)
    rate = 95 / 10_000
    assert found.error == pytest.approx(np.sqrt(rate * (1 - rate) * (1 / 9_500 + 1 / 500)), rel=0.01)
    assert found.upper > 0 > of_buyers([[190_000.0, 10_000.0]], [[1_900.0, 0.0]]).upper


def test_shares_of_other_times_do_not_mix_time_with_treatment() -> None:
    # the first stratum buys at 40%, hardly anybody is in the candidate; the second at 10%, half are
    found = of_buyers([[9_500.0, 500.0], [5_000.0, 5_000.0]], [[3_800.0, 200.0], [500.0, 500.0]])
    assert found.difference == pytest.approx(0.0, abs=1e-12)
    assert found.lower < 0 < found.upper


def test_a_stratum_without_candidate_changes_nothing() -> None:
    alone = of_buyers([[5_000.0, 5_000.0]], [[500.0, 600.0]])
    both = of_buyers([[9_500.0, 0.0], [5_000.0, 5_000.0]], [[3_800.0, 0.0], [500.0, 600.0]])
    assert [*map(float, (both.lower, both.upper))] == pytest.approx([float(alone.lower), float(alone.upper)])


@pytest.mark.parametrize(
    ("number", "bought"),
    [([5_000.0, 199.0], [500.0, 40.0]), ([5_000.0, 900.0], [50.0, 9.0]), ([5_000.0, 900.0], [0.0, 0.0])],
    ids=["few users", "few expected conversions", "none"],
)
def test_nothing_is_said_of_too_few(number: list[float], bought: list[float]) -> None:
    found = of_buyers([number], [bought])
    assert np.isnan(found.lower)
    assert sequence_verdict(found, 0.01, 0.8) is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("number", "total", "bought"),
    [(199.0, 1.0, 20.0), (500.0, 1.0, 9.0), (500.0, 0.0, 50.0)],
    ids=["few pairs", "few conversions", "equal values"],
)
def test_nothing_is_said_of_too_few_pairs_or_of_equal_values(
    number: float, total: float, bought: float
) -> None:
    sums = (number, total, total, bought, 10.0, 0.0)
    assert np.isnan(paired_difference([np.array(each) for each in sums], TEST).lower)


@pytest.mark.parametrize(
    ("difference", "radius", "error", "verdict"),
    [
        (0.005, 0.004, 0.001, Verdict.BETTER),
        (0.0, 0.004, 0.001, Verdict.NOT_WORSE),
        (0.0, 0.004, 0.0013, Verdict.UNDECIDED),
        (0.006, 0.01, 0.003, Verdict.UNDECIDED),
        (-0.009, 0.02, 0.005, Verdict.UNDECIDED),
        (-0.015, 0.005, 0.001, Verdict.WORSE),
    ],
)
def test_verdict_of_an_interval(difference: float, radius: float, error: float, verdict: Verdict) -> None:
    values = (difference, difference - radius, difference + radius, error, 0.1)
    assert sequence_verdict(Estimates(*map(np.array, values)), 0.005, 0.8) is verdict


def test_power_is_that_against_a_loss_of_the_margin() -> None:
    values = (0.0, -0.004, 0.004, 0.001, 0.1)
    assert Estimates(*map(np.array, values)).power(np.array(0.005)) == pytest.approx(0.8413, abs=1e-4)


def test_absolute_margin_takes_precedence_over_the_share_of_the_baseline() -> None:
    assert Margin(0.1).of(0.08) == pytest.approx(0.008)
    assert Margin(0.01).of(-0.2) == pytest.approx(0.002)
    assert Margin(0.1, 0.03).of(0.08) == 0.03


def test_worse_in_one_metric_is_worse_and_better_needs_the_others_not_worse() -> None:
    assert combined_verdict([Verdict.BETTER, Verdict.WORSE]) is Verdict.WORSE
    assert combined_verdict([Verdict.BETTER, Verdict.UNDECIDED]) is Verdict.UNDECIDED
    assert combined_verdict([Verdict.BETTER, Verdict.NOT_WORSE]) is Verdict.BETTER
    assert combined_verdict([Verdict.NOT_WORSE, Verdict.NOT_WORSE]) is Verdict.NOT_WORSE
    assert combined_verdict([]) is Verdict.UNDECIDED
