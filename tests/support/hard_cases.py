"""Small histories, each hard in one way."""

from collections.abc import Iterable

from reprise.events import Event
from support.hard_histories import PRODUCTS, UNSEEN_PRODUCT, UNSEEN_USER, USERS, Request

DAY_US = 86_400_000_000
YEAR_US = 365 * DAY_US
NOW = 1_750_000_000_000_000


def view(at_us: int, user: str = "u", product: str = "p", number: int = 0) -> Event:
    """Return a view."""
    return Event(f"{user}-{product}-{at_us}-{number}", user, product, "view", at_us)


def purchase(at_us: int, amount: float | None, user: str = "u", product: str = "p", number: int = 0) -> Event:
    return Event(f"{user}-{product}-{at_us}-{number}", user, product, "purchase", at_us, amount)


def every_pair_at(instants: Iterable[int]) -> list[Request]:
    return [
        Request(user, product, instant)
        for instant in instants
        for user in (*USERS, UNSEEN_USER)
        for product in (*PRODUCTS, UNSEEN_PRODUCT)
    ]


HARD_CASES: dict[str, list[Event]] = {
    "one view": [view(NOW)],
    "one purchase without amount": [purchase(NOW, None)],
    "only views": [view(NOW + at, product=PRODUCTS[at % 3]) for at in range(6)],
    "only purchases": [purchase(NOW + at, 1.5 * at, product=PRODUCTS[at % 3]) for at in range(6)],
    "a view and a purchase of a pair at one instant": [view(NOW), purchase(NOW, 3.0, number=1)],
    "many purchases of a pair at one instant": [purchase(NOW, float(at), number=at) for at in range(7)],
    "everything at one instant": [
        event
        for at in range(9)
        for event in (
            view(NOW, USERS[at % 4], PRODUCTS[at % 3], at),
            purchase(NOW, 10.0**at, USERS[at % 3], PRODUCTS[at % 2], 10 + at),
        )
    ],
    "nothing has an amount": [purchase(NOW + at * DAY_US, None, product=PRODUCTS[at % 3]) for at in range(6)],
    "the first and the last have no amount": [
        purchase(NOW + at * DAY_US, amount) for at, amount in enumerate((None, 1e9, 1e-6, None))
    ],
    "the largest and the smallest amounts": [
        purchase(NOW + at, 1e9 if at % 2 else 1e-6, USERS[at % 3], number=at) for at in range(12)
    ],
    "amounts of no spread": [purchase(NOW + at, 1e9 + 0.1, number=at) for at in range(9)],
    "amounts of nothing": [purchase(NOW + at * DAY_US, 0.0) for at in range(4)],
    "before 1970": [purchase(-9 * YEAR_US + at * DAY_US, 2.5, product=PRODUCTS[at % 3]) for at in range(5)],
    "years of silence": [
        view(NOW),
        purchase(NOW + 1, 5.0),
        purchase(NOW + 30 * YEAR_US, 7.0),
        view(NOW + 31 * YEAR_US),
    ],
    "a pair that is bought faster and faster": [
        purchase(NOW - YEAR_US // (at + 1), 1.0, number=at) for at in range(9)
    ],
}
