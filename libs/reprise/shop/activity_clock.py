"""The activity clock: shopping activity by hour, weekday, season and campaign, as a time change.

Each segment has an intensity g(t), constant in each hour, on average 1 between campaigns. Its integral G(t),
in *shop days*, is the segment's *activity time*. Sessions, churn and replenishment are stationary in it; their real
times are found by inverting it (the time change that makes a Poisson process of any intensity; Çinlar,
Introduction to Stochastic Processes, 1975). So a probability over real time is the closed form of the stationary
process, read at G(t) and G(t + horizon).
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from reprise.shop.columns import Floats, Indices
from reprise.shop.config import DAY_US, HOUR_US, SEGMENTS, InvalidShopError, Segment

EPOCH_DAY = date(2005, 1, 1)
"""First day of the calendar; customer lifetimes are drawn from here on."""
LAST_DAY = date(2100, 1, 1)
"""First day after the calendar."""
EPOCH_US = (EPOCH_DAY - date(1970, 1, 1)).days * DAY_US
LAST_US = (LAST_DAY - date(1970, 1, 1)).days * DAY_US

# The table always grows by the same blocks, so that its sums round alike for any order of calls.
_GROWTH_DAYS = 730
_WEEKDAYS = np.array([1.02, 0.96, 0.95, 0.97, 1.00, 1.05, 1.05])


@dataclass(frozen=True, slots=True)
class Campaign:
    """A sale of the whole shop that returns each year."""

    name: str
    month: int  # month of its anchor
    day: int  # day of the anchor; 0 stands for the fourth Friday of the month
    days: int  # length from the anchor on
    strength: float  # share of a segment's response to campaigns that it gets, 0 to 1
    discount: float  # mean discount, as a fraction


CAMPAIGNS = (
    Campaign("winter sale", 1, 4, 12, 0.5, 0.20),
    Campaign("spring week", 4, 8, 7, 0.5, 0.15),
    Campaign("summer sale", 7, 1, 14, 0.6, 0.20),
    Campaign("autumn days", 9, 17, 5, 0.5, 0.15),
    Campaign("black friday", 11, 0, 4, 1.0, 0.30),
    Campaign("gift season", 12, 5, 15, 0.7, 0.10),
)


def campaigns_between(start_us: int, end_us: int) -> list[tuple[Campaign, int, int]]:
    """Return the campaigns that overlap [start, end), each with its start and end in microseconds, in order."""
    found = []
    for year in range(_date_of(start_us).year - 1, _date_of(end_us).year + 1):
        for campaign in CAMPAIGNS:
            first = _anchor(campaign, year)
            begins = (first - date(1970, 1, 1)).days * DAY_US
            ends = begins + campaign.days * DAY_US
            if begins < end_us and ends > start_us:
                found.append((campaign, begins, ends))
    return sorted(found, key=lambda item: item[1])


class ActivityClock:
    """The clocks of all segments, from ``EPOCH_US`` on; the tables grow on demand."""

    def __init__(self, until_us: int = EPOCH_US) -> None:
        self._days = 0
        self._table = np.zeros((len(SEGMENTS), 1))
        self._flat = self._table.ravel()
        self._grow(until_us)

    def read(self, segment: Indices, instant_us: Indices) -> Floats:
        """Return each segment's activity time, in shop days, at each instant.

        Raises:
            InvalidShopError: An instant is outside the calendar, 2005 to 2099.
        """
        if len(instant_us) == 0:
            return np.zeros(0)
        first_us, last_us = int(instant_us.min()), int(instant_us.max())
        if first_us < EPOCH_US:
            raise InvalidShopError("start", _date_of(first_us), f"{EPOCH_DAY} or later")
        if last_us >= EPOCH_US + self._days * DAY_US:
            self._grow(last_us)
        elapsed = instant_us - EPOCH_US
        hour = elapsed // HOUR_US
        index = segment * self._table.shape[1] + hour
        low = self._flat[index]
        fraction = (elapsed - hour * HOUR_US) * (1.0 / HOUR_US)
        reading: Floats = low + (self._flat[index + 1] - low) * fraction
        return reading

    def read_all(self, instant_us: int) -> Floats:
        """Return the activity time of every segment at one instant."""
        count = len(SEGMENTS)
        return self.read(np.arange(count), np.full(count, instant_us, dtype=np.int64))

    def instant(self, segment: Indices, activity_time: Floats) -> Indices:
        """Return the instant of each segment's activity time, in microseconds since 1970.

        Raises:
            InvalidShopError: That is after the calendar's last day.
        """
        result = np.zeros(len(activity_time), dtype=np.int64)
        for number in range(len(SEGMENTS)):
            chosen = np.flatnonzero(segment == number)
            if len(chosen) == 0:
                continue
            wanted = activity_time[chosen]
            while float(wanted.max()) >= self._table[number, -1]:
                self._grow(EPOCH_US + self._days * DAY_US)
            row = self._table[number]
            first = int(np.searchsorted(row, wanted.min(), side="right")) - 1
            last = int(np.searchsorted(row, wanted.max(), side="right")) + 1
            hours = np.interp(wanted, row[first:last], np.arange(first, last, dtype=np.float64))
            result[chosen] = EPOCH_US + (hours * HOUR_US).astype(np.int64)
        return result

    def _grow(self, until_us: int) -> None:
        if until_us >= LAST_US:
            raise InvalidShopError("time", _date_of(min(until_us, LAST_US)), f"an instant before {LAST_DAY}")
        tables, total = [self._table], self._table[:, -1:]
        while self._days * DAY_US <= until_us - EPOCH_US:
            steps = np.cumsum(_intensity(self._days, self._days + _GROWTH_DAYS) / 24.0, axis=1)
            tables.append(steps + total)
            total = tables[-1][:, -1:]
            self._days += _GROWTH_DAYS
        self._table = np.ascontiguousarray(np.concatenate(tables, axis=1))
        self._flat = self._table.ravel()


def _intensity(first_day: int, end_day: int) -> Floats:
    days = np.arange(first_day, end_day)
    dates = np.datetime64(EPOCH_DAY) + days
    weekday = (dates.astype(np.int64) + 3) % 7
    of_year = (dates - dates.astype("datetime64[Y]")).astype(np.int64)
    season = 1.0 + 0.10 * np.cos(2 * np.pi * (of_year + 15) / 365.25)
    start_us = EPOCH_US + first_day * DAY_US
    campaigns = campaigns_between(start_us, EPOCH_US + end_day * DAY_US)
    rows = []
    for segment in SEGMENTS:
        daily = _WEEKDAYS[weekday] * np.where(weekday >= 5, segment.weekend, 1.0)
        daily /= (_WEEKDAYS[:5].sum() + _WEEKDAYS[5:].sum() * segment.weekend) / 7
        daily *= season
        for campaign, begins, ends in campaigns:
            low = max(0, (begins - start_us) // DAY_US)
            high = max(0, (ends - start_us) // DAY_US)
            daily[low:high] *= 1.0 + (segment.campaign - 1.0) * campaign.strength
        rows.append(np.outer(daily, _hours(segment)).ravel())
    return np.array(rows)


def _hours(segment: Segment) -> Floats:
    hour = np.arange(24) + 0.5
    curve = np.full(24, 0.06)
    for peak in segment.peak_hours:
        distance = np.abs(hour - peak)
        distance = np.minimum(distance, 24 - distance)
        curve += np.exp(-0.5 * (distance / 2.8) ** 2)
    normal: Floats = curve / curve.mean()
    return normal


def _anchor(campaign: Campaign, year: int) -> date:
    if campaign.day:
        return date(year, campaign.month, campaign.day)
    first = date(year, campaign.month, 1)
    return first + timedelta(days=(4 - first.weekday()) % 7 + 21)


def _date_of(instant_us: int) -> date:
    return date(1970, 1, 1) + timedelta(days=instant_us // DAY_US)
