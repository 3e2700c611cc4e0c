"""The synthetic shop: its users, products and the processes that generate events, with a known truth.

    shop = Shop(ShopConfig(seed=7, users=2_000, products=300))
    for batch in shop.stream(start_us):            # endless; about 100,000 events or a week each
        batch.user, batch.product                  # int64 indices; shop.user_ids()[0] == "u000000"
        batch.event_type                           # uint8, VIEW or PURCHASE; EVENT_TYPES[number] is the name
        batch.timestamp_us                         # int64, strictly increasing within and across batches
        batch.amount                               # float64, NaN for a view
        batch.event_ids()                          # list of str, unique in and across streams

Equal config: equal users, products, affinities and lifetimes, wherever a stream starts. Equal config and start: equal
events. With ``horizon_us`` a stream also has ``batch.probability``, the truth; ``oracle`` defines it.
"""

from reprise.shop.config import CATEGORIES as CATEGORIES
from reprise.shop.config import SEGMENTS as SEGMENTS
from reprise.shop.config import InvalidShopError as InvalidShopError
from reprise.shop.config import ShopConfig as ShopConfig
from reprise.shop.event_batch import EVENT_TYPES as EVENT_TYPES
from reprise.shop.event_batch import PURCHASE as PURCHASE
from reprise.shop.event_batch import VIEW as VIEW
from reprise.shop.event_batch import EventBatch as EventBatch
from reprise.shop.shop import Shop as Shop
