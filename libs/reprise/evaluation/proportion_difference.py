"""Differences of two independent groups with 95% intervals that hold for small groups and rare events.

The interval of a difference of shares is Newcombe's hybrid score interval, method 10 of *Interval estimation for the
difference between independent proportions*, Statistics in Medicine 17, 1998: the distances of both Wilson intervals,
combined by squares. Unlike p ± 1.96 standard errors it does not shrink to nothing in a group where nobody bought.
"""

from dataclasses import dataclass
from math import sqrt

from reprise.evaluation.cluster_bootstrap import NORMAL_95, Interval, wilson_interval

MIN_BUYERS = 30
"""Fewest users with a sum above zero in each group for an interval of the difference of means."""


@dataclass(frozen=True, slots=True)
class Group:
    """One group: its users, those who bought, and the sum and sum of squares of what each user spent."""

    users: int
    buyers: int
    spend: float = 0.0
    spend_squared: float = 0.0

    @property
    def share(self) -> float:
        """Share of the users who bought; NaN without users."""
        return self.buyers / self.users if self.users else float("nan")

    @property
    def mean_spend(self) -> float:
        """Spend per user; NaN without users."""
        return self.spend / self.users if self.users else float("nan")


def share_difference(treated: Group, control: Group) -> Interval:
    """Return the share of buyers in the first group less that in the second; NaN without users."""
    first, second = (wilson_interval(group.buyers, group.users) for group in (treated, control))
    return Interval(
        first.value - second.value,
        first.value
        - second.value
        - sqrt((first.value - first.lower) ** 2 + (second.upper - second.value) ** 2),
        first.value
        - second.value
        + sqrt((first.upper - first.value) ** 2 + (second.value - second.lower) ** 2),
    )


def spend_difference(treated: Group, control: Group) -> Interval:
    """Return the spend per user in the first group less that in the second.

    The bounds, by the variances of both groups, are NaN where a group has fewer than thirty buyers: a few amounts say
    too little about their spread.
    """
    value = treated.mean_spend - control.mean_spend
    if min(treated.buyers, control.buyers) < MIN_BUYERS:
        return Interval(value, float("nan"), float("nan"))
    variance = sum(
        max(0.0, group.spend_squared - group.users * group.mean_spend**2) / (group.users - 1) / group.users
        for group in (treated, control)
    )
    half = NORMAL_95 * sqrt(variance)
    return Interval(value, value - half, value + half)
