from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reprise.rollout.resource.spec import Analysis, Metric, basis_points
from reprise.rollout.state_machine.analysis import analyse
from reprise.rollout.state_machine.observed_state import ArmMeasurement, Measurement
from support.rollout_world import ERRING, GOOD, NOTHING, SLOW, START, spec, with_users

AT_ONCE = timedelta()


def finding(metric: Metric, measured: Measurement | None, weight: int = 1000, held: timedelta = AT_ONCE):
    analysis = Analysis(metrics=(metric,), min_samples=100)
    return analyse(analysis, measured, None, weight=weight, held=held, now=START).metrics[0]


OTHER_SCORES = ArmMeasurement(4000, 0, 0.01, (100.0,) * 10 + (300.0,) * 10)


@pytest.mark.parametrize(
    ("users", "others", "held", "verdict"),
    [
        (60, 6000, AT_ONCE, "Good"),
        (6000, 6000, AT_ONCE, "Bad"),
        (720_000, 6_000_000, timedelta(days=1), "Bad"),
    ],
    ids=["few users with many scores each are few samples", "many users", "after a day too"],
)
def test_other_scores_are_found_where_enough_users_have_them(users, others, held, verdict):
    measured = Measurement(OTHER_SCORES, GOOD.baseline, float(users), float(others))
    assert finding(Metric(type="ScoreDistance", max=0.1), measured, held=held).verdict == verdict


@pytest.mark.parametrize(
    ("users", "others", "weight", "verdict"),
    [(None, None, 1000, "NoData"), (0.0, 6000.0, 1000, "NoData"), (0.0, 6000.0, 0, "Bad")],
    ids=["unknown", "none seen yet", "a shadow scores the requests of the others"],
)
def test_scores_are_judged_only_by_a_known_number_of_users(users, others, weight, verdict):
    measured = Measurement(OTHER_SCORES, GOOD.baseline, users, others)
    assert finding(Metric(type="ScoreDistance", max=0.1), measured, weight).verdict == verdict


def test_a_good_candidate_is_not_rolled_back_by_the_many_analyses_of_its_scores():
    """A day of windows of 2 minutes with 60 users of the arm in each, who ask 5 times each and have one score."""
    generator = np.random.default_rng(5)
    shares, window = np.diff(stats.beta(2, 5).cdf(np.linspace(0, 1, 21))), timedelta(minutes=2)
    metric, bad = Metric(type="ScoreDistance", max=0.1), {"one analysis": 0, "all analyses": 0}
    for number in range(1, 721):
        arms = [
            ArmMeasurement(5 * users, 0, 0.01, tuple(5.0 * generator.multinomial(users, shares)))
            for users in (60, 600)
        ]
        alone = finding(metric, Measurement(*arms, 60.0, 600.0))
        among = Measurement(*arms, 60.0 * number, 600.0 * number)
        bad["one analysis"] += alone.verdict == "Bad"
        bad["all analyses"] += finding(metric, among, held=number * window).verdict == "Bad"
    assert bad["one analysis"], "no alarm to avoid"
    assert not bad["all analyses"]


@pytest.mark.parametrize(
    ("metric", "measured", "verdict"),
    [
        (Metric(type="ErrorRate", max=0.01), GOOD, "Good"),
        (Metric(type="ErrorRate", max=0.01), ERRING, "Bad"),
        (Metric(type="ErrorRate", max=0.01), NOTHING, "NoData"),
        (Metric(type="ErrorRate", max=0.01), None, "NoData"),
        (Metric(type="LatencyP99", max=0.1), SLOW, "Bad"),
        (Metric(type="LatencyP99", max_ratio=2.0), GOOD, "Good"),
        (Metric(type="LatencyP99", max_ratio=2.0), SLOW, "Bad"),
        (Metric(type="LatencyP99", max_ratio=2.0), Measurement(SLOW.candidate, ArmMeasurement()), "NoData"),
        (
            Metric(type="LatencyP99", max=0.1, max_ratio=2.0),
            Measurement(SLOW.candidate, ArmMeasurement()),
            "Bad",
        ),
        (Metric(type="SampleRatio"), GOOD, "NoData"),
        (Metric(type="SampleRatio"), with_users(GOOD, 1000), "Good"),
        (Metric(type="SampleRatio"), with_users(GOOD, 1000, off=0.9), "Bad"),
        (Metric(type="SampleRatio"), with_users(GOOD, 1000, total=90), "NoData"),
    ],
)
def test_a_metric_is_judged_by_its_limit_and_only_with_data(metric, measured, verdict):
    assert finding(metric, measured).verdict == verdict


def test_a_finding_says_what_was_found_and_what_is_allowed():
    found = finding(Metric(type="ErrorRate", max=0.01), ERRING)
    assert (found.value, found.limit, found.samples) == (0.1, 0.01, 1000)
    assert found.message == "error rate 0.1 is above 0.01"


def test_users_that_several_predictors_count_do_not_make_a_mismatch_of_noise():
    # each of 5,000 users counted by each of 4 predictors: the noise is of 5,000, not of 20,000
    off = Measurement(GOOD.candidate, GOOD.baseline, 4 * 560.0, 4 * 4440.0)
    assert finding(Metric(type="SampleRatio", max=0.001), replace(off, counters=4)).verdict == "Good"
    assert finding(Metric(type="SampleRatio", max=0.001), off).verdict == "Bad"


def test_shadows_have_no_users_to_be_missing():
    analysis = analyse(Analysis(), GOOD, None, weight=0, held=AT_ONCE, now=START)
    assert "SampleRatio" not in {metric.type for metric in analysis.metrics}


def test_failures_in_a_row_are_counted_and_forgotten_after_a_good_analysis():
    analysis, counts = None, []
    for number, measured in enumerate((ERRING, ERRING, NOTHING, ERRING, GOOD, ERRING)):
        rules = Analysis(metrics=(Metric(type="ErrorRate", max=0.01),))
        now = START + timedelta(seconds=number)
        analysis = analyse(rules, measured, analysis, weight=100, held=AT_ONCE, now=now)
        counts.append(analysis.metrics[0].failures)
    assert counts == [1, 2, 2, 3, 0, 1]
    assert analysis.breach(1).type == "ErrorRate"
    assert analysis.breach(2) is None


def test_a_candidate_walks_the_steps_below_its_own_share_and_then_has_that():
    asked = spec(candidates=[{"name": "a", "digest": "sha256:" + "b" * 64, "trafficPercent": 20}])
    assert [stage.weight for stage in asked.steps_of(asked.candidates[0])] == [100, 1000, 2000]
    assert asked.steps_of(asked.candidates[0])[-1].hold == timedelta(seconds=60)


@given(st.lists(st.integers(1, 9_999), min_size=1, max_size=7))
def test_shares_of_all_candidates_never_pass_all_users(parts):
    percents = [part / sum(parts) * 100 for part in parts]
    assert sum(basis_points(percent) for percent in percents) <= 10_000
