"""The shop's events, taken out of their own time and put into the present."""

import math
from collections.abc import Callable, Iterator

from reprise.events import Event
from reprise.shop import EVENT_TYPES, Shop


def simulated_events(shop: Shop, now_us: Callable[[], int]) -> Iterator[Event]:
    """Yield the shop's events without end, in order, each with the time at which it is taken.

    The users, products and tastes are those of a history with the same users, products and seed. Timestamps
    strictly increase. Ids differ from those of any history, and of a simulator that was started at another time.

    Args:
        shop: The shop.
        now_us: Returns the present, microseconds since 1970-01-01 UTC.
    """
    users, products = shop.user_ids(), shop.product_ids()
    last_us = 0
    for chunk in shop.stream(now_us()):
        columns = zip(
            chunk.event_ids(),
            chunk.user.tolist(),
            chunk.product.tolist(),
            chunk.event_type.tolist(),
            chunk.amount.tolist(),
            strict=True,
        )
        for event_id, user, product, event_type, amount in columns:
            last_us = max(now_us(), last_us + 1)
            yield Event(
                event_id=event_id,
                user_id=users[user],
                product_id=products[product],
                event_type=EVENT_TYPES[event_type],
                timestamp_us=last_us,
                amount=None if math.isnan(amount) else amount,
            )
