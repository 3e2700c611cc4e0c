"""The synthetic shop: its users, products and the processes that make events, with a known truth.

    shop = Shop(ShopConfig(seed=7, users=2_000, products=300))
    for chunk in shop.stream(start_us):            # endless; each chunk some 100,000 events or a week
        chunk.user, chunk.product                  # int64 indices; shop.user_id(0) == "u000000"
        chunk.event_type                           # uint8, VIEW or PURCHASE; EVENT_TYPES[number] is the name
        chunk.timestamp_us                         # int64, strictly increasing within and across chunks
        chunk.amount                               # float64, NaN for a view
        chunk.event_ids()                          # list of str, unique in and across streams

Equal config: equal users, products, tastes and lives, wherever a stream starts; equal config and start: equal
events. With ``horizon_us`` a stream also has ``chunk.probability``, the truth; ``truth`` says what it means.
"""

from reprise.shop.config import CATEGORIES, SEGMENTS, Category, Segment, ShopConfig
from reprise.shop.event_batch import EVENT_ID_LENGTH, EVENT_TYPES, PURCHASE, VIEW, EventChunk
from reprise.shop.exceptions import InvalidShopError, ShopError
from reprise.shop.shop import Shop

__all__ = [
    "CATEGORIES",
    "EVENT_ID_LENGTH",
    "EVENT_TYPES",
    "PURCHASE",
    "SEGMENTS",
    "VIEW",
    "Category",
    "EventChunk",
    "InvalidShopError",
    "Segment",
    "Shop",
    "ShopConfig",
    "ShopError",
]
