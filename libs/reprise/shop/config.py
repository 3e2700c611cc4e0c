"""The size of a shop, its segments of users and its categories of products."""

from dataclasses import dataclass

from reprise.runtime.exceptions import RepriseError

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000


class InvalidShopError(RepriseError):
    """A setting of the shop is out of its range; says which, its value, and what was expected."""

    def __init__(self, setting: str, value: object, expected: str) -> None:
        super().__init__(f"{setting}: expected {expected}, got {value}")


@dataclass(frozen=True, slots=True)
class ShopConfig:
    """The size and the seed of a shop; two shops of equal config have the same users and products.

    Raises:
        InvalidShopError: A number is out of its range.
    """

    seed: int = 7  # any number from 0 to 2^63 - 1
    users: int = 2_000  # size of the customer base, 1 to 10 million; some of it is dormant at any time
    products: int = 300  # size of the catalogue, 1 to 1 million

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise InvalidShopError("seed", self.seed, "a number from 0 to 2^63 - 1")
        if not 1 <= self.users <= 10_000_000:
            raise InvalidShopError("users", self.users, "1 to 10,000,000")
        if not 1 <= self.products <= 1_000_000:
            raise InvalidShopError("products", self.products, "1 to 1,000,000")


@dataclass(frozen=True, slots=True)
class Segment:
    """A kind of user."""

    name: str
    share: float  # share of all users
    sessions_per_day: float  # mean browsing sessions per active day
    further_views: float  # mean views of a session after its first
    conversion: float  # factor on the probability that a browsed product is bought
    loyalty: float  # shift of the log-odds to buy a consumable again
    lifetime_days: float  # mean days from joining to churning
    peak_hours: tuple[float, ...]  # the hours (UTC) around which activity is highest
    weekend: float  # factor on activity at weekends
    campaign: float  # factor on activity at the height of a campaign


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of product."""

    name: str
    weight: float  # its relative popularity
    price: float  # median price, in the shop's currency
    conversion: float  # probability that a browsed product is bought
    cycle_days: float  # mean days until a product is used up
    regularity: int  # shape of the Erlang distribution of those days; the higher, the more regular
    repeat: float  # probability that a purchase is followed by replenishment
    satiation: float  # factor on ``conversion`` for users who have bought the product before


SEGMENTS = (
    Segment("loyal", 0.22, 0.46, 2.2, 1.2, 0.7, 1000.0, (8.0, 20.0), 0.95, 1.4),
    Segment("regular", 0.40, 0.38, 2.6, 1.0, 0.1, 700.0, (12.5, 20.5), 1.15, 1.6),
    Segment("bargain", 0.20, 0.40, 3.4, 0.8, -0.8, 400.0, (13.0, 22.0), 1.3, 2.6),
    Segment("occasional", 0.18, 0.16, 2.8, 0.9, -0.3, 250.0, (19.0,), 1.45, 1.8),
)

CATEGORIES = (
    Category("coffee & tea", 1.10, 9.5, 0.060, 24.0, 10, 0.74, 0.25),
    Category("snacks", 1.00, 4.0, 0.070, 14.0, 6, 0.66, 0.35),
    Category("pet food", 0.80, 24.0, 0.060, 32.0, 14, 0.84, 0.20),
    Category("baby care", 0.70, 18.0, 0.060, 18.0, 10, 0.80, 0.25),
    Category("household", 0.90, 7.5, 0.055, 42.0, 10, 0.72, 0.25),
    Category("skin care", 0.90, 16.0, 0.045, 55.0, 8, 0.60, 0.25),
    Category("vitamins", 0.60, 14.0, 0.045, 38.0, 18, 0.76, 0.15),
    Category("books", 1.10, 13.0, 0.050, 300.0, 4, 0.01, 0.02),
    Category("toys", 0.90, 22.0, 0.040, 300.0, 4, 0.02, 0.05),
    Category("kitchen", 0.80, 35.0, 0.025, 400.0, 4, 0.03, 0.04),
    Category("clothing", 1.30, 39.0, 0.035, 180.0, 4, 0.06, 0.10),
    Category("electronics", 1.00, 140.0, 0.015, 500.0, 4, 0.02, 0.04),
)
