"""Increases, rates and quantiles over the latest snapshots."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.status.analysis.history import History, Window
from reprise.status.scrape.snapshot import ProcessSnapshot
from support.seen_platform import look, process, silent

NAME = "reprise_materializer_events_total"
FOLDED = f'{NAME}{{outcome="folded"}}'
SECONDS = "reprise_materializer_freshness_seconds"


def of(value: float, address: str = "10.0.0.1:8002") -> ProcessSnapshot:
    return process({FOLDED: value}, address)


def history(*looks: list[ProcessSnapshot], every: float = 5.0, capacity: int = 100) -> History:
    made = History(capacity)
    for number, found in enumerate(looks):
        made.add(number * every, look(number * every, {"materializer": found}))
    return made


def growing(*values: float, every: float = 5.0, capacity: int = 100) -> History:
    return history(*([of(value)] for value in values), every=every, capacity=capacity)


def increase(*looks: list[ProcessSnapshot]) -> float:
    return history(*looks).window(math.inf).increase(NAME)


def test_rate_is_of_the_time_that_its_looks_cover() -> None:
    made = growing(0, 10, 30, 60)
    assert made.window(10).rate(NAME) == 5
    assert made.window(1000).rate(NAME) == 4
    assert growing(0, 300, every=100).window(60).rate(NAME) == 3, "two looks farther apart than the window"


def test_clock_that_goes_back_makes_no_negative_rate() -> None:
    made = growing(0, 10)
    made.add(2.0, look(2.0, {"materializer": [of(15)]}))
    assert made.window(60).rate(NAME) is None


def test_labels_choose_what_is_counted() -> None:
    window = growing(0, 10).window(60)
    assert window.increase(NAME, outcome="folded") == 10
    assert window.increase(NAME, outcome=frozenset({"folded", "invalid"})) == 10
    assert window.increase(NAME, outcome="invalid") == 0


def test_history_keeps_as_many_looks_as_it_may_and_no_more() -> None:
    made = growing(*(each**2 for each in range(100)), capacity=20)
    assert len(made.curve("lag")) == 20
    assert made.seconds == 95
    assert made.window(math.inf).increase(NAME) == 99**2 - 79**2


OTHER = "10.0.0.2:8002"


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param([[of(10), of(100, OTHER)], [of(13), of(104, OTHER)]], 7, id="summed-over-processes"),
        pytest.param([[of(1000)], [of(4)], [of(6)]], 6, id="restart-counts-from-zero"),
        pytest.param([[of(10)], [of(12), of(5000, OTHER)], [of(5003, OTHER)]], 5, id="no-jump-of-a-new-one"),
        pytest.param([[process({"reprise_ready": 1}, "10.0.0.1:8002")], [of(3)]], 3, id="new-series"),
        pytest.param(
            [[of(10)], [silent(address="10.0.0.1:8002")], [of(100_000)], [of(100_001)]],
            1,
            id="back-after-a-gap",
        ),
    ],
)
def test_increases_are_those_of_processes_that_were_there_before(
    looks: list[list[ProcessSnapshot]], expected: float
) -> None:
    assert increase(*looks) == expected


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=30))
def test_what_restarts_lose_is_never_counted_twice(steps: list[tuple[int, bool]]) -> None:
    values, truth = [0], 0
    for more, restarts in steps:
        values.append(more if restarts else values[-1] + more)
        truth += more
    counted = growing(*values).window(math.inf).increase(NAME)
    # A restart that overtakes the old value looks like growth from it: less than the truth, never more.
    assert counted <= truth
    if not any(restarts for _, restarts in steps):
        assert counted == truth


def quantile(q: float, buckets: list[tuple[float, float]]) -> float | None:
    increases = {f"{SECONDS}_bucket": {(("le", str(bound)),): count for bound, count in buckets}}
    return Window([increases], 60.0).quantile(q, SECONDS)


def test_quantile_is_that_of_prometheus() -> None:
    # histogram_quantile(0.95, …) of these buckets, by Prometheus' own documentation of its interpolation
    buckets = [(0.1, 50.0), (0.5, 90.0), (1.0, 100.0), (math.inf, 100.0)]
    assert quantile(0.5, buckets) == pytest.approx(0.1)
    assert quantile(0.7, buckets) == pytest.approx(0.3)
    assert quantile(0.95, buckets) == pytest.approx(0.75)
    assert quantile(0.99, [(1.0, 10.0), (math.inf, 100.0)]) == 1.0, "beyond the last bound it is that"


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
    assert high <= next(bound for bound in bounds if bound >= exact)
