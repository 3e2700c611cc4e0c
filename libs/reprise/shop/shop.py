"""The shop itself: its people and goods, and the stream of what happens in it from an instant on.

Decision: time runs in slices, all users together.
    A stream walks through time in slices of an hour to a week, sized so that a slice has some 100,000 events,
    and makes each slice for all users at once. Between slices it keeps the users' lives, a row per pair that
    was bought in the current life of its user, and the few minutes of sessions that run over the slice's end.
    So events come ordered by time, a stream has no end, and memory grows with users and with the pairs they
    buy, never with events or days. The alternative, whole histories per block of users merged on disk, keeps
    less state but has no live stream and writes everything twice.
"""

from collections.abc import Iterator

import numpy as np

from reprise.shop.activity_clock import EPOCH_US, ActivityClock
from reprise.shop.config import CATEGORIES, DAY_US, SEGMENTS, ShopConfig
from reprise.shop.customer_lifetimes import ABSENCE_DAYS
from reprise.shop.event_batch import EventChunk, numbered_id
from reprise.shop.event_stream import WARM_UP_DAYS, EventStream
from reprise.shop.exceptions import InvalidShopError
from reprise.shop.population import Population


class Shop:
    """The users and products of a config, and streams of their events."""

    def __init__(self, config: ShopConfig | None = None) -> None:
        self.config = config or ShopConfig()
        self.population = Population(self.config)

    def stream(self, start_us: int, *, horizon_us: int | None = None) -> Iterator[EventChunk]:
        """Return chunks of the shop's events from an instant on, without end, equal for equal arguments.

        Streams of one config that start at different instants have the same users, products, tastes and
        lives, but each has a past of its own and makes its own events under ids of its own.

        Args:
            start_us: Where to begin, microseconds since 1970-01-01 UTC, in the years 2006 to 2099.
            horizon_us: For how long after each event its ``probability`` looks ahead; ``None`` leaves it out.

        Raises:
            InvalidShopError: The start or the horizon is out of its range.
        """
        earliest = EPOCH_US + 365 * DAY_US
        if start_us < earliest:
            raise InvalidShopError(
                "start", f"{start_us} µs", f"an instant from {earliest} µs (2006-01-01) on"
            )
        if horizon_us is not None and not 0 < horizon_us <= ABSENCE_DAYS * DAY_US:
            raise InvalidShopError(
                "horizon", f"{horizon_us / DAY_US:g} days", f"more than 0, up to {ABSENCE_DAYS} days"
            )
        clock = ActivityClock(start_us - (WARM_UP_DAYS + 1) * DAY_US)
        return EventStream(self.population, clock, start_us, horizon_us).chunks()

    def user_id(self, index: int) -> str:
        """Return the id of a user, such as ``u000123``."""
        return numbered_id("u", index, self.config.users, 6)

    def product_id(self, index: int) -> str:
        """Return the id of a product, such as ``p00042``."""
        return numbered_id("p", index, self.config.products, 5)

    def user_ids(self) -> list[str]:
        """Return the ids of all users, by index."""
        return [self.user_id(index) for index in range(self.config.users)]

    def product_ids(self) -> list[str]:
        """Return the ids of all products, by index."""
        return [self.product_id(index) for index in range(self.config.products)]

    def category_of(self, product: int) -> str:
        """Return the name of a product's category."""
        return CATEGORIES[int(self.population.products.category[product])].name

    def segment_of(self, user: int) -> str:
        """Return the name of a user's segment."""
        return SEGMENTS[int(self.population.users.segment[user])].name

    def price_of(self, product: int) -> float:
        """Return a product's price before discounts."""
        return float(np.round(self.population.products.price[product], 2))
