from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.evaluation.time_split import HistoryTooShortError, Span, split_by_time
from reprise.runtime.durations import parse_duration

DAY = 86_400_000_000
MONTH = timedelta(days=30)


@given(
    first=st.integers(0, 10**16),
    horizon_hours=st.integers(1, 2_000),
    horizons=st.floats(4.001, 50),
)
def test_no_label_reaches_into_a_later_span(first: int, horizon_hours: int, horizons: float) -> None:
    horizon = timedelta(hours=horizon_hours)
    horizon_us = horizon // timedelta(microseconds=1)
    last = first + int(horizons * horizon_us)

    split = split_by_time(first, last, horizon)

    spans = (split.train, split.calibration, split.evaluation)
    assert all(span.start_us < span.end_us for span in spans)
    assert split.train.start_us == first
    for earlier, later in pairwise(spans):
        assert earlier.end_us - 1 + horizon_us < later.start_us
    assert split.evaluation.end_us - 1 + horizon_us <= last


def test_year_is_split_by_shares_of_what_the_gaps_leave() -> None:
    split = split_by_time(0, 365 * DAY, MONTH)
    lengths = [span.length_us / DAY for span in (split.train, split.calibration, split.evaluation)]
    assert lengths == pytest.approx([275 * 0.65, 275 * 0.13, 275 * 0.22])


@pytest.mark.parametrize("days", [0.0, 30.0, 90.0, 119.9])
@pytest.mark.parametrize(
    ("refunds", "windows", "needed"),
    [(0, "a horizon of 30d", 120), (14, "a horizon of 30d and a refund window of 14d", 176)],
)
def test_short_history_is_refused_with_a_horizon_that_works(
    days: float, refunds: int, windows: str, needed: int
) -> None:
    last, refund_window = int(days * DAY), timedelta(days=refunds)
    with pytest.raises(HistoryTooShortError, match=f"too short for {windows}: ") as refused:
        split_by_time(0, last, MONTH, refund_window)
    assert f"at least {needed} days of events" in refused.value.remedy
    assert ("--horizon" in refused.value.remedy) == (days / 4 > refunds)
    if days / 4 > refunds:
        suggested = refused.value.remedy.split("--horizon ")[1].rstrip(")")
        split_by_time(0, last, parse_duration(suggested), refund_window)


def test_span_takes_its_start_and_leaves_its_end() -> None:
    assert Span(10, 20).rows(np.array([5, 10, 10, 19, 20, 21])) == slice(1, 4)


def test_model_of_an_earlier_date_is_refit_as_todays_is_on_what_had_labels_then() -> None:
    split = split_by_time(0, 365 * DAY, MONTH)
    window_us = 30 * DAY
    assert split.refit_as_of(split.evaluation.end_us + window_us) == (split.refit, split.refit_calibration)
    refit, calibration = split.refit_as_of(200 * DAY)
    assert (refit.start_us, refit.end_us) == (30 * DAY, 170 * DAY)
    assert calibration.end_us == refit.end_us
    share = split.refit_calibration.length_us / split.refit.length_us
    assert calibration.length_us / refit.length_us == pytest.approx(share, abs=1e-9)
    assert split.refit_as_of(130 * DAY)[0].start_us == 20 * DAY
