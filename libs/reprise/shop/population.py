"""The shop's users and products, and the hidden constants of each user with each product."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reprise.shop.activity_clock import campaigns_between
from reprise.shop.columns import Floats, Indices
from reprise.shop.config import CATEGORIES, DAY_US, SEGMENTS, ShopConfig
from reprise.shop.hashing import combined_key, hashed_normal, hashed_uniform, hashed_words

_USERS, _PRODUCTS, _PAIRS, _OFFERS, _CAMPAIGNS = range(1, 6)
_ZIPF_EXPONENT = 1.1
SESSIONS_SHAPE = 4.0
"""Shape of the gamma distribution of a user's session rate, whose mean is the segment's."""
AFFINITY_CONCENTRATION = 1.4
"""Dirichlet concentration of a user's affinity per unit of a category's weight."""
CONVERSION_SPREAD, CYCLE_SPREAD, PAIR_SPREAD = 0.3, 0.25, 0.2
"""Log-scale deviations of a user's conversion, of a user's cycle factor, and of a pair's own cycle factor."""
LOYALTY_SPREAD = 0.5
"""Deviation of a user's loyalty from the segment's."""
MAX_CONVERSION = 0.5
"""Upper limit of the probability that a browsed product is bought."""
_OFFER_SHARE = 0.08
_OFFER_PERCENTS = np.array([10, 15, 20, 25, 30], dtype=np.uint8)
_CATEGORY_COUNT = len(CATEGORIES)


@dataclass(frozen=True, slots=True)
class Users:
    """One number per user."""

    segment: Indices  # index into ``SEGMENTS``
    sessions: Floats  # mean browsing sessions per shop day
    further_views: Floats  # mean views of a session after its first
    conversion: Floats  # factor on a product's conversion
    loyalty: Floats  # shift of the log-odds to buy a consumable again
    cycle_factor: Floats  # factor on the days until a consumable is used up; smaller for large households
    churn: Floats  # churn rate per shop day
    affinity: Floats  # (users, categories) share of the sessions that go to a category
    affinity_steps: Floats  # the same, cumulated and shifted by the user's index, as one sorted array


@dataclass(frozen=True, slots=True)
class Products:
    """One number per product."""

    category: Indices  # index into ``CATEGORIES``
    popularity: Floats  # its share of the views of its category
    price: Floats  # in the shop's currency, before discounts
    conversion: Floats  # probability that it is bought when browsed
    cycle: Floats  # mean shop days until it is used up
    regularity: Indices  # Erlang shape of those days
    repeat: Floats  # log-odds that a purchase is followed by replenishment
    satiation: Floats  # factor on ``conversion`` for users who have bought it
    by_category: Indices  # the products, ordered by category
    popularity_steps: Floats  # popularity in that order, cumulated and shifted by the category's index


class Population:
    """All users and products of the shop; depends on the config alone."""

    def __init__(self, config: ShopConfig) -> None:
        self.config = config
        self.products = _make_products(config)
        self.users = _make_users(config, self.products)
        self._pair_key = combined_key(config.seed, _PAIRS)
        self._offer_key = combined_key(config.seed, _OFFERS)
        self._campaign_key = combined_key(config.seed, _CAMPAIGNS)

    def pair(self, user: Indices, product: Indices) -> Indices:
        """Return the number of each user–product pair, user × products + product."""
        return user * self.config.products + product

    def conversion(self, user: Indices, product: Indices) -> Floats:
        """Return the probability that a user who never bought a browsed product buys it."""
        chance = self.users.conversion[user] * self.products.conversion[product]
        return np.minimum(chance, MAX_CONVERSION)

    def cycle(self, user: Indices, product: Indices) -> Floats:
        """Return the mean shop days in which the user uses the product up."""
        factor = np.exp(PAIR_SPREAD * hashed_normal(self._pair_key, self.pair(user, product)))
        return self.products.cycle[product] * self.users.cycle_factor[user] * factor

    def repeat(self, user: Indices, product: Indices) -> Floats:
        """Return the probability that a purchase of the user is followed by replenishment."""
        odds = np.exp(self.products.repeat[product] + self.users.loyalty[user])
        return odds / (1.0 + odds)

    def browsing(self, user: Indices, product: Indices) -> Floats:
        """Return the browsing sessions per shop day in which the user views the product.

        A session of 1 + Poisson(m) views, each of the product with probability z, has it with probability
        1 − (1 − z)·exp(−m·z).
        """
        seen = self.products.popularity[product]
        missed = (1.0 - seen) * np.exp(-self.users.further_views[user] * seen)
        affinity = self.users.affinity[user, self.products.category[product]]
        return self.users.sessions[user] * affinity * (1.0 - missed)

    def categories(self, user: Indices, uniform: Floats) -> Indices:
        """Return the category of each user's session, by uniform numbers in [0, 1)."""
        found = np.searchsorted(self.users.affinity_steps, user + uniform, side="right")
        category: Indices = np.clip(found - user * _CATEGORY_COUNT, 0, int(self.products.category.max()))
        return category

    def viewed(self, category: Indices, uniform: Floats) -> Indices:
        """Return the product of each view in a category, by uniform numbers in [0, 1)."""
        found = np.searchsorted(self.products.popularity_steps, category + uniform, side="right")
        return self.products.by_category[np.minimum(found, len(self.products.by_category) - 1)]

    def discount(self, product: Indices, instant_us: Indices) -> npt.NDArray[np.uint8]:
        """Return the discount in percent on each product at each instant: weekly offers and campaigns."""
        week = instant_us // (7 * DAY_US)
        number = product * 8192 + week
        offered = hashed_uniform(self._offer_key, number) < _OFFER_SHARE
        choice = (hashed_words(self._offer_key + 1, number) % np.uint64(len(_OFFER_PERCENTS))).astype(
            np.int64
        )
        percent = np.where(offered, _OFFER_PERCENTS[choice], np.uint8(0))
        if len(instant_us) == 0:
            return percent
        first, last = int(instant_us.min()), int(instant_us.max())
        for campaign, begins, ends in campaigns_between(first, last + 1):
            draw = hashed_uniform(self._campaign_key + begins // DAY_US, np.arange(_CATEGORY_COUNT))
            by_category = (5 * np.round(campaign.discount * 20 * (0.5 + draw))).astype(np.uint8)
            during = (instant_us >= begins) & (instant_us < ends)
            campaign_percent = by_category[self.products.category[product]]
            percent = np.where(during, np.maximum(percent, campaign_percent), percent)
        return percent


def _make_users(config: ShopConfig, products: Products) -> Users:
    draw = np.random.default_rng([config.seed, _USERS])
    count = config.users
    shares = np.array([segment.share for segment in SEGMENTS])
    segment = draw.choice(len(SEGMENTS), size=count, p=shares / shares.sum())
    weights = np.array([category.weight for category in CATEGORIES])
    weights = np.where(np.bincount(products.category, minlength=_CATEGORY_COUNT) > 0, weights, 0.0)
    affinity = (
        draw.gamma(np.broadcast_to(AFFINITY_CONCENTRATION * weights, (count, _CATEGORY_COUNT)))
        + 1e-3 * weights
    )
    affinity /= affinity.sum(axis=1, keepdims=True)
    steps: Floats = np.minimum(np.cumsum(affinity, axis=1), 1.0)
    steps[:, -1] = 1.0

    def by_segment(name: str) -> Floats:
        return np.array([getattr(kind, name) for kind in SEGMENTS], dtype=np.float64)[segment]

    return Users(
        segment=segment.astype(np.int64),
        sessions=by_segment("sessions_per_day") * draw.gamma(SESSIONS_SHAPE, 1 / SESSIONS_SHAPE, count),
        further_views=by_segment("further_views"),
        conversion=by_segment("conversion") * np.exp(CONVERSION_SPREAD * draw.standard_normal(count)),
        loyalty=by_segment("loyalty") + LOYALTY_SPREAD * draw.standard_normal(count),
        cycle_factor=np.exp(CYCLE_SPREAD * draw.standard_normal(count)),
        churn=1.0 / by_segment("lifetime_days"),
        affinity=affinity,
        affinity_steps=(steps + np.arange(count)[:, None]).ravel(),
    )


def _make_products(config: ShopConfig) -> Products:
    draw = np.random.default_rng([config.seed, _PRODUCTS])
    count = config.products
    category: Indices = draw.permutation(np.arange(count, dtype=np.int64) % _CATEGORY_COUNT)
    by_category = np.argsort(category, kind="stable")
    sizes = np.bincount(category, minlength=_CATEGORY_COUNT)
    popularity = np.zeros(count)
    steps = np.zeros(count)
    start = 0
    for number, size in enumerate(sizes):
        share = (np.arange(size) + 1.0) ** -_ZIPF_EXPONENT
        share = draw.permutation(share / share.sum())
        popularity[by_category[start : start + size]] = share
        steps[start : start + size] = number + np.minimum(np.cumsum(share), 1.0)
        start += size
        if size:
            steps[start - 1] = number + 1.0

    def of_category(name: str) -> Floats:
        return np.array([getattr(kind, name) for kind in CATEGORIES], dtype=np.float64)[category]

    repeat = of_category("repeat")
    price = of_category("price") * np.exp(0.45 * draw.standard_normal(count))
    return Products(
        category=category,
        popularity=popularity,
        price=np.maximum(np.round(price * 2) / 2, 1.0) - 0.01,
        conversion=of_category("conversion") * np.exp(0.3 * draw.standard_normal(count)),
        cycle=of_category("cycle_days") * np.exp(0.25 * draw.standard_normal(count)),
        regularity=of_category("regularity").astype(np.int64),
        repeat=np.log(repeat / (1 - repeat)) + 0.3 * draw.standard_normal(count),
        satiation=of_category("satiation"),
        by_category=by_category,
        popularity_steps=steps,
    )
