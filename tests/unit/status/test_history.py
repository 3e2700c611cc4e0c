import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.status.analysis.history import History, quantile, share_above

NAME = "reprise_producer_events_total"


def history(*grown: float, every: float = 5.0, capacity: int = 100) -> History:
    made = History(capacity)
    for number, value in enumerate(grown):
        made.add(number * every, {NAME: {(("outcome", "accepted"),): value}} if number else {})
    return made


def test_rate_is_of_the_time_that_its_looks_cover() -> None:
    assert history(0, 10, 20, 30).window(10).rate(NAME) == 5
    assert history(0, 10, 20, 30).window(1000).rate(NAME) == 4


def test_one_look_gives_no_rate() -> None:
    window = history(0).window(60)
    assert (window.seconds, window.rate(NAME), window.increase(NAME)) == (0, None, None)


def test_two_looks_that_are_farther_apart_than_the_window_give_a_rate() -> None:
    assert history(0, 300, every=100).window(60).rate(NAME) == 3


def test_labels_choose_what_is_counted() -> None:
    window = history(0, 10).window(60)
    assert window.increase(NAME, outcome="accepted") == 10
    assert window.increase(NAME, outcome=frozenset({"accepted", "failed"})) == 10
    assert window.increase(NAME, outcome="failed") is None


def test_history_keeps_as_many_looks_as_it_may_and_no_more() -> None:
    made = history(*range(500), capacity=20)
    assert len(made) == 20
    assert made.seconds == 95
    assert made.window(math.inf).increase(NAME) == sum(range(480, 500))


def test_points_have_a_gap_where_nothing_was_known() -> None:
    made = History(3)
    for at, value in enumerate((1.0, None, 3.0, 4.0)):
        made.add(at, {})
        made.set_values({"lag": value})
    assert made.curve("lag") == [None, 3.0, 4.0]


def test_clock_that_goes_back_makes_no_negative_rate() -> None:
    made = history(0, 10)
    made.add(2.0, {NAME: {(): 5}})
    assert made.window(60).rate(NAME) is None


def test_quantile_is_that_of_prometheus() -> None:
    # histogram_quantile(0.95, …) of these buckets, by Prometheus' own documentation of its interpolation
    buckets = [(0.1, 50.0), (0.5, 90.0), (1.0, 100.0), (math.inf, 100.0)]
    assert quantile(0.5, buckets) == pytest.approx(0.1)
    assert quantile(0.7, buckets) == pytest.approx(0.3)
    assert quantile(0.95, buckets) == pytest.approx(0.75)


def test_quantile_beyond_the_last_bound_is_that_bound() -> None:
    assert quantile(0.99, [(1.0, 10.0), (math.inf, 100.0)]) == 1.0


@pytest.mark.parametrize("buckets", [[], [(math.inf, 5.0)], [(1.0, 0.0), (math.inf, 0.0)]])
def test_quantile_of_nothing_is_not_known(buckets: list[tuple[float, float]]) -> None:
    assert quantile(0.5, buckets) is None


@given(st.lists(st.floats(0.001, 99), min_size=1, max_size=200), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_quantiles_rise_and_lie_in_the_bucket_of_their_observation(
    values: list[float], one: float, other: float
) -> None:
    bounds = [0.01, 0.1, 1.0, 10.0, 100.0, math.inf]
    buckets = [(bound, float(sum(value <= bound for value in values))) for bound in bounds]
    low, high = (quantile(q, buckets) for q in sorted((one, other)))
    assert low is not None
    assert high is not None
    assert low <= high <= 100
    exact = sorted(values)[math.ceil(max(one, other) * len(values)) - 1]
    above = next(bound for bound in bounds if bound >= exact)
    assert high <= above


def test_share_above_a_bound() -> None:
    assert share_above(0.05, [(0.05, 90.0), (math.inf, 100.0)]) == pytest.approx(0.1)
    assert share_above(0.05, [(0.05, 0.0), (math.inf, 0.0)]) is None
