"""The Poisson-gamma model of repeat purchases, with the repeat customer probability of the product.

Bhagat, Muralidharan, Lobzhanidze and Vishwanath, *Buy It Again: Modeling Repeat Purchase Recommendations*, KDD 2018,
sections 3.1 and 3.3, without their correction for the time just after a purchase.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from reprise.evaluation.classification_metrics import Floats

_SHAPE = 1.0
_PRIOR_CUSTOMERS = 2.0


@dataclass(frozen=True, slots=True)
class PastPurchases:
    """The purchases of a pair and of its product strictly before each row; NaN without any."""

    count: Floats  # Number of purchases of the pair
    since_first: Floats  # Days
    spend: Floats  # Sum of the pair's amounts
    customers: Floats  # Number of users who bought the product
    repeat_customers: Floats  # Number of users who bought it twice or more
    repeats: Floats  # Purchases of the product beyond each customer's first
    customer_days: Floats  # Sum over its customers of the days since their first purchase

    def subset(self, rows: Any) -> Self:
        """Return the purchases of some of the rows."""
        return type(self)(*(getattr(self, name)[rows] for name in self.__slots__))


def poisson_gamma(fitted_on: PastPurchases, past: PastPurchases, horizon_days: float) -> Floats:
    """Return the probability of a purchase within the horizon, NaN where the pair has none before.

    What products with few customers are shrunk to comes from ``fitted_on``.

    It is Q·(1 − (b / (b + horizon))^a): the user is a repeat customer of the product with probability Q, and buys it at
    a rate whose gamma prior has the mean of the product's repeat customers and shape 1; a and b are its posterior's.
    """
    pairs = fitted_on.subset(fitted_on.count > 0)
    share = float(pairs.repeat_customers.sum()) / max(1.0, float(pairs.customers.sum()))
    q = (past.repeat_customers + _PRIOR_CUSTOMERS * share) / (past.customers + _PRIOR_CUSTOMERS)
    mean_rate = max(float(pairs.repeats.sum()) / max(1.0, float(pairs.customer_days.sum())), 1e-9)
    rate = (past.repeats + 1.0) / (past.customer_days + 1.0 / mean_rate)
    b = _SHAPE * np.maximum(q, 1e-9) / rate + past.since_first
    probability = q * (1.0 - (b / (b + horizon_days)) ** (_SHAPE + past.count - 1.0))
    return np.where(past.count > 0, probability, np.nan)
