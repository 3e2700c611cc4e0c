"""The shop: users, products, and streams of their events.

Decision: time runs in slices, all users together.
    A stream advances in slices of an hour to a week, sized for about 100,000 events, and draws each slice for all users
    at once. Between slices it keeps the customer lifetimes, a row per pair bought in the current lifetime of its user,
    and the events of sessions that run past the slice's end. So events come in time order, a stream has no end, and
    memory grows with users and the pairs they buy, never with events or days. The alternative, whole histories per
    block of users merged on disk, keeps less state but has no live stream and writes everything twice.
"""

from collections.abc import Iterator

from reprise.shop.activity_clock import EPOCH_US, ActivityClock
from reprise.shop.config import DAY_US, ShopConfig
from reprise.shop.customer_lifetimes import ABSENCE_DAYS
from reprise.shop.event_batch import EventBatch
from reprise.shop.event_stream import WARM_UP_DAYS, EventStream
from reprise.shop.exceptions import InvalidShopError
from reprise.shop.population import Population


class Shop:
    """The users and products of a config, and streams of their events."""

    def __init__(self, config: ShopConfig | None = None) -> None:
        self.config = config or ShopConfig()
        self.population = Population(self.config)

    def stream(self, start_us: int, *, horizon_us: int | None = None) -> Iterator[EventBatch]:
        """Return batches of the shop's events from an instant on, without end, equal for equal arguments.

        Streams of one config that start at different instants have the same users, products, affinities and
        lifetimes, but each has its own past, its own events and its own event ids.

        Args:
            start_us: First instant, microseconds since 1970-01-01 UTC, in the years 2006 to 2099.
            horizon_us: Horizon of each event's ``probability``; ``None`` leaves it out.

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
        return EventStream(self.population, clock, start_us, horizon_us).batches()

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


def numbered_id(prefix: str, number: int, count: int, digits: int) -> str:
    """Return the id of one of ``count`` numbered things, such as ``u000123``, all of equal length."""
    return f"{prefix}{number:0{max(digits, len(str(count - 1)))}d}"
