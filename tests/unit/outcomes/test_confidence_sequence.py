from dataclasses import replace

import numpy as np
import pytest

from reprise.outcomes.comparison.confidence_sequence import (
    Moments,
    SequentialTest,
    Verdict,
    arm_difference,
    combined_verdict,
    paired_difference,
    sequence_verdict,
)
from support.sequential_trials import CASES, Trial, conversion_trials, paired_trials, table

TEST = SequentialTest()
RUNS = 200


def test_200_aa_tests_looked_at_hourly_promote_falsely_at_most_1_in_20() -> None:
    trial = Trial()
    for simulated in (trial, replace(trial, shares=(0.05, 0.25, 0.5)), replace(trial, rate=0.01)):
        found = conversion_trials(simulated, TEST, RUNS, seed=7)
        assert found.better <= 0.05
        assert found.missed <= 0.05
    found = paired_trials(replace(trial, margin=0.001), TEST, RUNS, seed=7)
    assert found.better <= 0.05
    assert found.missed <= 0.05


def test_a_plain_interval_looked_at_hourly_would_promote_falsely() -> None:
    assert conversion_trials(Trial(), TEST, RUNS, seed=7).naive > 0.15


def test_a_lift_of_a_fifth_is_found_in_two_weeks_nine_times_in_ten() -> None:
    found = conversion_trials(Trial(lift=0.2), TEST, RUNS, seed=7)
    assert found.better >= 0.9
    assert found.worse == 0.0
    assert conversion_trials(Trial(lift=-0.2), TEST, RUNS, seed=7).worse >= 0.9


def test_paired_models_need_a_fraction_of_the_users() -> None:
    found = paired_trials(Trial(improvement=0.002), TEST, RUNS, seed=7)
    assert found.better >= 0.99
    assert found.hours < 100


def test_a_candidate_worse_by_the_margin_is_called_not_worse_at_most_1_in_20() -> None:
    assert conversion_trials(Trial(lift=-0.125, margin=0.01), TEST, RUNS, seed=7).not_worse <= 0.05
    assert paired_trials(Trial(improvement=-0.001, margin=0.001), TEST, RUNS, seed=7).not_worse <= 0.05


def test_table_has_a_row_for_each_case() -> None:
    rows = table(runs=4).splitlines()
    assert len(rows) == len(CASES) + 2


def test_radius_is_that_of_the_paper() -> None:
    rho2 = (-2 * np.log(0.05) + np.log(-2 * np.log(0.05)) + 1) / 10_000
    t, deviation = 2_500.0, 0.3
    expected = deviation * np.sqrt(2 * (t * rho2 + 1) / (t**2 * rho2) * np.log(np.sqrt(t * rho2 + 1) / 0.05))
    assert TEST.radius(np.array(deviation), np.array(t)) == pytest.approx(expected)


def test_strata_of_other_shares_do_not_mix_time_with_treatment() -> None:
    # the first stratum buys at 40%, hardly anybody is in the candidate; the second at 10%, half are
    number = np.array([[9_500.0, 500.0], [5_000.0, 5_000.0]])
    bought = number * np.array([[0.4], [0.1]])
    found = arm_difference(Moments(number, bought, bought), TEST)
    assert found.difference == pytest.approx(0.0, abs=1e-12)
    assert found.lower < 0 < found.upper


def test_stratum_with_few_in_an_arm_waits() -> None:
    number = np.array([[9_500.0, 29.0], [5_000.0, 5_000.0]])
    bought = number * 0.1
    assert arm_difference(Moments(number, bought, bought), TEST).users == 10_000


def test_nothing_is_said_of_too_few_users_or_of_equal_values() -> None:
    few = paired_difference(np.array(199.0), np.array(1.0), np.array(2.0), TEST)
    assert np.isnan(few.lower)
    equal = paired_difference(np.array(500.0), np.array(0.0), np.array(0.0), TEST)
    assert np.isnan(equal.lower)
    assert sequence_verdict(float(few.lower), float(few.upper), 0.01) is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.001, 0.01), Verdict.BETTER),
        ((-0.004, 0.01), Verdict.NOT_WORSE),
        ((-0.02, 0.01), Verdict.UNDECIDED),
        ((-0.02, -0.01), Verdict.WORSE),
    ],
)
def test_verdict_of_an_interval(interval: tuple[float, float], said: Verdict) -> None:
    assert sequence_verdict(*interval, margin=0.005) is said


def test_worse_in_one_metric_is_worse_and_better_needs_the_others_not_worse() -> None:
    assert combined_verdict([Verdict.BETTER, Verdict.WORSE]) is Verdict.WORSE
    assert combined_verdict([Verdict.BETTER, Verdict.UNDECIDED]) is Verdict.UNDECIDED
    assert combined_verdict([Verdict.BETTER, Verdict.NOT_WORSE]) is Verdict.BETTER
    assert combined_verdict([Verdict.NOT_WORSE, Verdict.NOT_WORSE]) is Verdict.NOT_WORSE
    assert combined_verdict([]) is Verdict.UNDECIDED
