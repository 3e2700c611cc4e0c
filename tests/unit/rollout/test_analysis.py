from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.rollout.resource.spec import Analysis, Metric, basis_points
from reprise.rollout.state_machine.analysis import analyse
from reprise.rollout.state_machine.observed_state import ArmMeasurement, Measurement
from reprise.routing.metric_names import USER_PERIOD_SECONDS
from support.rollout_world import ERRING, GOOD, NOTHING, SLOW, START, spec, with_users

AT_ONCE = timedelta()


def finding(
    metric: Metric, measured: Measurement | None, weight: int = 1000, pods: int = 2, held: timedelta = AT_ONCE
):
    analysis = Analysis(metrics=(metric,), min_samples=100)
    return analyse(analysis, measured, None, weight=weight, pods=pods, held=held, now=START).metrics[0]


def returning_users(
    candidate: int,
    baseline: int,
    shift: float = 0.0,
    *,
    windows: int,
    day: float = 0.0,
    once: bool = True,
    seed: int = 0,
) -> list[bool]:
    """Return which windows of a step ScoreDistance finds bad, ``day`` days after its start.

    In a window an arm has that many requests, of half as many users, who return in later windows. A few users
    ask most, and a user has one score. ``shift`` raises the candidate's. Windows lie across two periods of the count;
    without ``once`` every request counts.
    """
    rng, metric = np.random.default_rng(seed), Metric(type="ScoreDistance", max=0.1)
    arms, verdicts = [], []
    for requests, added in ((candidate, shift), (baseline, 0.0)):
        rates = rng.lognormal(0.0, 1.2, requests // 2).cumsum()
        bins = np.minimum(20 * (rng.beta(2, 5, requests // 2) + added), 19).astype(int)
        arms.append((requests, bins, rates / rates[-1], [np.empty(0)]))
    for window in range(windows):
        measured = []
        for requests, bins, rates, seen in arms:
            ended, begun = np.searchsorted(rates, rng.random((2, requests // 2)))
            counted = np.concatenate([ended, begun])
            if once:
                counted = np.concatenate([np.setdiff1d(ended, seen[-1]), np.unique(begun)])
            seen[-1] = begun
            scores = np.bincount(bins[counted], minlength=20).astype(float)
            measured.append(ArmMeasurement(requests, 0, 0.01, tuple(scores)))
        held = timedelta(days=day, seconds=window * USER_PERIOD_SECONDS)
        verdicts.append(finding(metric, Measurement(*measured), pods=1, held=held).verdict == "Bad")
    return verdicts


def test_users_who_return_and_ask_much_raise_no_alarm():
    assert any(returning_users(400, 4000, windows=20, once=False)), "no alarm to avoid"
    assert not any(returning_users(400, 4000, windows=90))


@pytest.mark.parametrize("day", [0.0, 1.0, 14.0])
def test_other_scores_are_found_at_once_however_long_a_step_lasts(day):
    assert all(returning_users(1200, 12000, 0.1, windows=5, day=day))


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
        (Metric(type="SampleRatio"), with_users(GOOD, 1000, total=100), "NoData"),
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
    assert finding(Metric(type="SampleRatio", max=0.001), off, pods=4).verdict == "Good"
    assert finding(Metric(type="SampleRatio", max=0.001), off, pods=1).verdict == "Bad"


def test_shadows_have_no_users_to_be_missing():
    analysis = analyse(Analysis(), GOOD, None, weight=0, pods=1, held=AT_ONCE, now=START)
    assert "SampleRatio" not in {metric.type for metric in analysis.metrics}


def test_failures_in_a_row_are_counted_and_forgotten_after_a_good_analysis():
    analysis, counts = None, []
    for number, measured in enumerate((ERRING, ERRING, NOTHING, ERRING, GOOD, ERRING)):
        rules = Analysis(metrics=(Metric(type="ErrorRate", max=0.01),))
        analysis = analyse(
            rules, measured, analysis, weight=100, pods=1, held=AT_ONCE, now=START + timedelta(seconds=number)
        )
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
