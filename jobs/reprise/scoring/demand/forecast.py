"""The expected demand of each product within a horizon, and what simple methods would expect.

Repeat buyers are the sum of the model's probabilities over the pairs that bought the product. Units are purchase
events. Repeat units are repeat buyers times the units of one in the recent windows, product by product, drawn towards
the shop's by five buyers. New buyers and their units continue the mean of the recent windows, since the product's first
purchase. After a year of history they follow the season: how the shop's new buyers of this window a year ago compared
with the windows before it. Revenue is units times mean amounts: the pair's own for repeat units, the product's for new
ones and for pairs without an amount.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import reduce

import numpy as np

from reprise.evaluation.classification_metrics import Floats
from reprise.runtime.durations import microseconds
from reprise.scoring.demand.purchases import Purchases, Totals
from reprise.scoring.exceptions import ScoringError

_WINDOWS = 3
_YEAR_US = microseconds(timedelta(days=365))
_SHOP_BUYERS = 5.0
_LARGEST_SEASON = 3.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expectations by product within the horizon from an instant; the last two are baselines of the units."""

    repeat_buyers: Floats
    new_buyers: Floats
    units: Floats
    revenue: Floats
    seasonal_naive: Floats  # Units of the same window a year ago, of the last window in a shorter history
    moving_average: Floats  # Mean units of the last three windows


def forecast(
    purchases: Purchases, at_us: int, horizon_us: int, repeat_buyers: Floats, repeat_spend: Floats
) -> Forecast:
    """Return the forecast at an instant from the purchases before it.

    ``repeat_buyers`` and ``repeat_spend`` are, by product, the sums over its pairs of the probability, and of the
    probability times the mean amount.

    Raises:
        ScoringError: The history has no whole horizon before the instant.
    """
    recent = purchases.windows_before(at_us, horizon_us, _WINDOWS)
    if not recent:
        raise ScoringError("a forecast needs a history of at least one horizon before the instant")
    total = reduce(Totals.__add__, recent)
    shop_units = total.repeat_units.sum() / max(total.repeat_buyers.sum(), 1.0) or 1.0
    units_of_one = (total.repeat_units + _SHOP_BUYERS * shop_units) / (total.repeat_buyers + _SHOP_BUYERS)
    known = np.clip((at_us - purchases.first_us) / horizon_us, 0.1, len(recent))
    last_year = purchases.windows_before(at_us - _YEAR_US, horizon_us, _WINDOWS)
    same = purchases.within(at_us - _YEAR_US, at_us - _YEAR_US + horizon_us)
    season = 1.0
    if last_year:
        level = np.mean([each.new_units.sum() for each in last_year])
        season = np.clip(same.new_units.sum() / max(level, 1.0), 1 / _LARGEST_SEASON, _LARGEST_SEASON)
    new_units = total.new_units / known * season
    return Forecast(
        repeat_buyers=repeat_buyers,
        new_buyers=total.new_buyers / known * season,
        units=repeat_buyers * units_of_one + new_units,
        revenue=repeat_spend * units_of_one + new_units * purchases.mean_amount(at_us),
        seasonal_naive=same.units if last_year else recent[0].units,
        moving_average=total.units / len(recent),
    )


def wape(expected: Floats, actual: Floats) -> float | None:
    """Return the weighted absolute percentage error: Σ |actual − expected| ÷ Σ actual; None if the latter is 0."""
    return float(np.abs(actual - expected).sum() / actual.sum()) if actual.any() else None
