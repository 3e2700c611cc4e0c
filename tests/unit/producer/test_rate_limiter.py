import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.producer.services.simulator import RateLimiter


@given(
    rate=st.floats(0.5, 50_000),
    steps=st.lists(st.floats(0.0001, 0.9), min_size=1, max_size=50),
)
def test_number_of_events_never_drifts_from_the_rate(rate: float, steps: list[float]) -> None:
    now, emitted = 100.0, 0
    limiter = RateLimiter(rate, now)
    for step in steps:
        emitted += limiter.take_due(now)
        assert abs(emitted - ((now - 100.0) * rate + 1)) <= 1.001
        now += step


@pytest.mark.parametrize(
    ("rate", "times", "due"),
    [
        (10, (0.0, 0.0, 0.05, 0.1, 0.1), [1, 0, 0, 1, 0]),
        (100, (0.0, 0.5), [1, 50]),
        (100, (0.0, 3600.0, 3600.5), [1, 1, 50]),
    ],
    ids=["nothing is due twice", "a short delay is made up for", "a standstill is not"],
)
def test_what_is_due(rate: float, times: tuple[float, ...], due: list[int]) -> None:
    limiter = RateLimiter(rate, 0.0)
    assert [limiter.take_due(now) for now in times] == due


def test_wait_is_until_the_next_is_due() -> None:
    limiter = RateLimiter(10, 0.0)
    limiter.take_due(0.0)
    assert limiter.seconds_to_next(0.03) == pytest.approx(0.07)
    assert limiter.seconds_to_next(0.5) == 0.0
