"""Histories of events that are hard on features, drawn and by hand, and requests about them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from reprise.events import Event, event_key, parse_timestamp

USERS = ("u", "u|p", "ü 2", "once")
PRODUCTS = ("p", "p|p", "7")
UNSEEN_USER = "nobody"
UNSEEN_PRODUCT = "nothing"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_US = 86_400_000_000
YEAR_US = 365 * DAY_US
NOW = 1_750_000_000_000_000

_gaps_us = st.one_of(
    st.just(0),
    st.just(0),
    st.integers(1, 3),
    st.integers(1, 3_600_000_000),
    st.integers(1, 60 * DAY_US),
    st.integers(YEAR_US, 9 * YEAR_US),
)
_offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_amounts = st.one_of(
    st.none(),
    st.just(0.0),
    st.floats(-6, 9).map(lambda exponent: 10.0**exponent),
    st.integers(1, 20_000).map(lambda cents: cents / 100),
)
_types = st.sampled_from(("view", "purchase", "purchase", "cart"))


@dataclass(frozen=True)
class Request:
    """A question about a user and a product at an instant, with the request's own amount and type."""

    user_id: str
    product_id: str
    timestamp_us: int
    amount: float | None = None
    is_purchase: bool | None = None


@st.composite
def histories(draw: st.DrawFn, max_events: int = 30) -> list[Event]:
    """Draw events as producers send them: with ties, silence, null amounts, and each in a time zone of its own."""
    instant = draw(st.integers(-5 * YEAR_US, 40 * YEAR_US))
    events = []
    for number in range(draw(st.integers(1, max_events))):
        instant += draw(_gaps_us)
        event_type = draw(_types)
        event = Event(
            event_id=f"event-{number}-{draw(st.integers(0, 9))}",
            user_id=draw(st.sampled_from(USERS[:3])) if number else USERS[3],
            product_id=draw(st.sampled_from(PRODUCTS)),
            event_type=event_type,
            timestamp_us=parse_timestamp(in_zone(instant, draw(_offsets))),
            amount=None if event_type == "view" else draw(_amounts),
        )
        events.append(event)
    if all(event.event_type == "cart" for event in events):
        events.append(Event("the-one", USERS[0], PRODUCTS[0], "view", instant))
    return events


@st.composite
def requests_about(draw: st.DrawFn, events: Sequence[Event], max_instants: int = 3) -> list[Request]:
    """Draw instants at, just before, just after, between and after events, and ask for every pair at each.

    Pairs are those of all users and products, also of those never seen: rows of the same instant cost the
    reference executor little more than one.
    """
    instants = [event.timestamp_us for event in events]
    nearby = st.builds(
        lambda instant, shift: instant + shift,
        st.sampled_from(instants),
        st.sampled_from((0, 0, -1, 1, DAY_US, -DAY_US)),
    )
    anywhen = st.integers(min(instants) - DAY_US, max(instants) + 5 * YEAR_US)
    asked = draw(st.lists(st.one_of(nearby, nearby, anywhen), min_size=1, max_size=max_instants))
    amount, is_purchase = draw(_amounts), draw(st.sampled_from((None, True, False)))
    return every_pair_at(asked, amount, is_purchase)


def every_pair_at(
    instants: Iterable[int], amount: float | None = None, is_purchase: bool | None = None
) -> list[Request]:
    """Return a request about every pair at each instant, also about users and products that no event has."""
    return [
        Request(user_id, product_id, instant, amount, is_purchase)
        for instant in instants
        for user_id in (*USERS, UNSEEN_USER)
        for product_id in (*PRODUCTS, UNSEEN_PRODUCT)
    ]


def in_zone(instant_us: int, zone: tzinfo) -> str:
    """Return the RFC 3339 text of an instant as a clock in that zone shows it."""
    return (_EPOCH + timedelta(microseconds=instant_us)).astimezone(zone).isoformat()


def random_history(
    seed: int, count: int, *, users: int = 12, products: int = 6, years: float = 3.0
) -> list[Event]:
    """Return many events with the same difficulties; about a third are ties, also within a pair."""
    rng = np.random.default_rng(seed)
    instants = np.sort(rng.integers(0, int(years * YEAR_US), max(1, 2 * count // 3)))
    chosen = np.sort(rng.choice(instants, count)) + 1_000_000_000_000_000
    purchases = rng.random(count) < 0.5
    amounts = 10.0 ** rng.uniform(-6, 9, count)
    missing = rng.random(count) < 0.1
    user = (users * rng.random(count) ** 2).astype(int)
    product = (products * rng.random(count) ** 2).astype(int)
    return [
        Event(
            event_id=f"{seed}-{at}",
            user_id=f"user-{user[at]}",
            product_id=f"product-{product[at]}",
            event_type="purchase" if purchases[at] else "view",
            timestamp_us=int(chosen[at]),
            amount=float(amounts[at]) if purchases[at] and not missing[at] else None,
        )
        for at in range(count)
    ]


def requests_at(events: Sequence[Event], seed: int = 0) -> list[Request]:
    """Return one request at each event, and one a moment to a year after it, of a pair drawn at random."""
    rng = np.random.default_rng(seed)
    own = [
        Request(e.user_id, e.product_id, e.timestamp_us, e.amount, e.event_type == "purchase") for e in events
    ]
    after = 10.0 ** rng.uniform(0, 13.5, len(events))
    others = rng.permutation(len(events))
    later = [
        Request(event.user_id, events[other].product_id, event.timestamp_us + int(shift))
        for event, other, shift in zip(events, others, after, strict=True)
    ]
    return own + later


def event_frame(events: Sequence[Event]) -> pd.DataFrame:
    """Return events as the reference executor takes them."""
    return pd.DataFrame(
        {
            "user_id": [e.user_id for e in events],
            "product_id": [e.product_id for e in events],
            "event_type": [e.event_type for e in events],
            "timestamp": _naive_utc([e.timestamp_us for e in events]),
            "amount": np.array([np.nan if e.amount is None else e.amount for e in events]),
            "event_key": [event_key(e.event_id) for e in events],
        }
    )


def request_frame(requests: Sequence[Request]) -> pd.DataFrame:
    """Return requests as every executor takes them."""
    return pd.DataFrame(
        {
            "row_id": np.arange(len(requests), dtype=np.int64),
            "user_id": [r.user_id for r in requests],
            "product_id": [r.product_id for r in requests],
            "timestamp_us": np.array([r.timestamp_us for r in requests], dtype=np.int64),
            "timestamp": _naive_utc([r.timestamp_us for r in requests]),
            "amount": np.array([np.nan if r.amount is None else r.amount for r in requests]),
            "is_purchase": np.array([np.nan if r.is_purchase is None else r.is_purchase for r in requests]),
        }
    )


def largest_amount(events: Sequence[Event]) -> float:
    return max((e.amount for e in events if e.amount is not None), default=0.0)


def _naive_utc(instants_us: Sequence[int]) -> pd.Series:
    micros = np.array(instants_us, dtype="int64").astype("datetime64[us]")
    return pd.Series(micros.astype("datetime64[ns]"))


def view(at_us: int, user: str = "u", product: str = "p", number: int = 0) -> Event:
    return Event(f"{user}-{product}-{at_us}-{number}", user, product, "view", at_us)


def purchase(at_us: int, amount: float | None, user: str = "u", product: str = "p", number: int = 0) -> Event:
    return Event(f"{user}-{product}-{at_us}-{number}", user, product, "purchase", at_us, amount)


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
"""Small histories, each hard in one way."""
