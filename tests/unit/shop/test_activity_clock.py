"""The uneven clock: what it shows, its inverse, and the calendar behind it."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.shop import SEGMENTS, InvalidShopError
from reprise.shop.activity_clock import EPOCH_US, LAST_US, ActivityClock, campaigns_between
from reprise.shop.config import DAY_US, HOUR_US

CLOCK = ActivityClock()


def micros(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@given(
    instants=st.lists(st.integers(EPOCH_US, EPOCH_US + 25 * 366 * DAY_US), min_size=1, max_size=20),
    segment=st.integers(0, len(SEGMENTS) - 1),
)
def test_an_instant_is_found_again_from_what_the_clock_shows(instants: list[int], segment: int) -> None:
    when = np.array(instants, dtype=np.int64)
    segments = np.full(len(when), segment)
    found = CLOCK.instant(segments, CLOCK.read(segments, when))
    assert np.abs(found - when).max() <= 1_000


def test_clock_never_stops_and_campaigns_alone_make_it_run_fast() -> None:
    days = np.arange(0, 3 * 365 * 24) * HOUR_US + micros("2026-01-01")
    for segment in range(len(SEGMENTS)):
        reading = CLOCK.read(np.full(len(days), segment), days)
        assert (np.diff(reading) > 0).all()
        assert (reading[-1] - reading[0]) / (len(days) / 24) == pytest.approx(1.1, abs=0.08)


def test_clock_reads_the_same_whatever_it_was_asked_before() -> None:
    late = ActivityClock(micros("2040-06-01"))
    when = np.array([micros("2026-11-27T10:30:00"), micros("2039-02-03")])
    assert (CLOCK.read(np.array([0, 2]), when) == late.read(np.array([0, 2]), when)).all()


def test_evenings_are_busier_than_nights_and_campaigns_than_other_days() -> None:
    def rate(text: str) -> float:
        start = micros(text)
        shown = CLOCK.read(np.array([2, 2]), np.array([start, start + HOUR_US]))
        return float(shown[1] - shown[0])

    assert rate("2026-10-14T21:00:00") > 5 * rate("2026-10-14T04:00:00")
    assert rate("2026-11-27T21:00:00") > 1.8 * rate("2026-11-20T21:00:00")


def test_black_friday_is_the_fourth_friday_of_november() -> None:
    for year, day in ((2024, 22), (2025, 28), (2026, 27), (2027, 26)):
        found = campaigns_between(micros(f"{year}-11-15"), micros(f"{year}-12-01"))
        assert [campaign.name for campaign, _, _ in found] == ["black friday"]
        assert found[0][1] == micros(f"{year}-11-{day}")


@pytest.mark.parametrize("instant", [EPOCH_US - 1, LAST_US])
def test_an_instant_outside_the_calendar_is_refused(instant: int) -> None:
    with pytest.raises(InvalidShopError, match=r"2005-01-01|2100-01-01"):
        CLOCK.read(np.array([0]), np.array([instant]))
