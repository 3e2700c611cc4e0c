"""The shop's stream: what it promises to those who read it."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reprise.shop import (
    CATEGORIES,
    PURCHASE,
    EventBatch,
    InvalidShopError,
    Shop,
    ShopConfig,
)
from reprise.shop.activity_clock import ActivityClock
from reprise.shop.config import DAY_US
from reprise.shop.shop import ABSENCE_DAYS, CustomerLifetimes, EventStream, numbered_ids

START = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 1_000_000
SMALL = ShopConfig(seed=3, users=400, products=60)


def history(
    config: ShopConfig, days: int, *, start: int = START, horizon_us: int | None = None
) -> list[EventBatch]:
    return list(Shop(config).history(start, start + days * DAY_US, horizon_us=horizon_us))


def events(config: ShopConfig, days: int, **options: Any) -> pd.DataFrame:
    """A history's events, one a row, with the day of each, and whether it is a purchase."""
    columns = ("user", "product", "event_type", "timestamp_us", "amount", "discount", "sequence")
    batches = history(config, days, **options)
    found = pd.DataFrame({name: np.concatenate([getattr(b, name) for b in batches]) for name in columns})
    day = (found["timestamp_us"] - options.get("start", START)) / DAY_US
    return found.assign(day=day, bought=found["event_type"] == PURCHASE)


def test_equal_arguments_make_equal_events_with_or_without_the_truth() -> None:
    pd.testing.assert_frame_equal(events(SMALL, 40), events(SMALL, 40, horizon_us=30 * DAY_US))
    first, again = (history(SMALL, 10, horizon_us=horizon_us) for horizon_us in (None, 30 * DAY_US))
    assert [batch.event_ids() for batch in first] == [batch.event_ids() for batch in again]


def test_another_seed_makes_another_shop() -> None:
    configs = (SMALL, ShopConfig(seed=4, users=400, products=60))
    assert len({Shop(config).population.products.price[0] for config in configs}) == 2
    assert len({len(events(config, 10)) for config in configs}) == 2


def test_time_strictly_increases_from_the_start_to_the_end_across_batches() -> None:
    assert len(history(SMALL, 60)) > 3
    found = events(SMALL, 60)
    assert found["day"].iloc[0] >= 0
    assert 59 < found["day"].iloc[-1] < 60
    assert (found["timestamp_us"].diff().iloc[1:] > 0).all()
    assert (found["sequence"] == found.index).all()


def test_event_ids_are_distinct_within_and_across_streams() -> None:
    ids = [
        event_id
        for start in (START, START + DAY_US)
        for batch in history(SMALL, 30, start=start)
        for event_id in batch.event_ids()
    ]
    assert len(set(ids)) == len(ids) > 5_000
    assert {len(event_id) for event_id in ids} == {24}
    assert all(int(event_id, 16) >= 0 for event_id in ids[:100])


def test_purchases_cost_the_price_less_the_discount_in_whole_cents_and_views_nothing() -> None:
    found = events(SMALL, 60)
    views, bought = found[~found["bought"]], found[found["bought"]]
    assert views["amount"].isna().all()
    assert (views["discount"] == 0).all()
    price = np.round(Shop(SMALL).population.products.price, 2)[bought["product"]]
    expected = np.round(price * (100 - bought["discount"].astype(float))) / 100
    np.testing.assert_allclose(bought["amount"], expected, atol=1e-9)
    assert (bought["amount"] > 0).all()
    assert 0.02 < (bought["discount"] > 0).mean() < 0.6


def test_campaigns_are_busier_and_cheaper() -> None:
    start = int(datetime(2026, 11, 19, tzinfo=UTC).timestamp()) * 1_000_000
    found = events(ShopConfig(users=1_500), 12, start=start)
    per_day = found["day"].astype(int).value_counts()
    assert per_day[8] > 1.4 * per_day[1]
    discount = found[found["bought"]].groupby(found["day"] >= 8)["discount"].mean()
    assert discount[True] > 3 * discount[False]


def test_ids_are_of_equal_length_however_many_there_are() -> None:
    shop = Shop(SMALL)
    assert (shop.user_ids()[123], shop.product_ids()[42]) == ("u000123", "p00042")
    assert numbered_ids("u", 11, 1)[5] == "u05"


def test_the_same_users_are_customers_wherever_a_stream_starts() -> None:
    population = Shop(SMALL).population
    straight, stepped = (CustomerLifetimes(population, ActivityClock()) for _ in range(2))
    straight.advance(START)
    for day in range(400, 0, -20):
        stepped.advance(START - day * DAY_US)
    stepped.advance(START)
    np.testing.assert_array_equal(straight.birth, stepped.birth)
    np.testing.assert_array_equal(straight.death, stepped.death)


def test_a_churned_user_is_away_for_longer_than_any_horizon() -> None:
    shop = Shop(ShopConfig(users=300, products=20))
    when = events(shop.config, 1_500).groupby("user")["timestamp_us"]
    clock = ActivityClock()
    lives = CustomerLifetimes(shop.population, clock)
    lives.advance(START)
    segment = shop.population.users.segment
    churned = np.flatnonzero(lives.death < clock.read_all(START + 900 * DAY_US)[segment])
    assert len(churned) >= 40
    for index in set(churned[:40]) & set(when.groups):
        left = clock.instant(segment[[index]], lives.death[[index]])[0]
        instants = when.get_group(index)
        gone = instants[instants > left + DAY_US]
        assert gone.empty or gone.iloc[0] >= left + ABSENCE_DAYS * DAY_US


def test_consumables_are_bought_again_on_a_cycle_and_durables_hardly_ever() -> None:
    shop = Shop()
    found = events(shop.config, 365)
    bought = found[found["bought"]]
    gap = bought.groupby(["user", "product"])["day"].diff()
    names = np.array([category.name for category in CATEGORIES])[shop.population.products.category]
    again = bought.assign(gap=np.log(gap), category=names[bought["product"]]).dropna(subset="gap")
    repeats, middle = again["category"].value_counts(), again.groupby("category")["gap"].median()
    consumables = repeats[["coffee & tea", "pet food", "snacks"]]
    assert consumables.min() > 100 * repeats.get("books", 0)
    assert middle["snacks"] < middle["skin care"] - np.log(2)
    often = again[again.groupby(["user", "product"])["gap"].transform("size") > 4]
    own = often["gap"] - often.groupby(["user", "product"])["gap"].transform("mean")
    assert own.std() < 0.75 * often["gap"].std()


def test_what_is_kept_does_not_grow_with_time() -> None:
    shop = Shop(SMALL)
    stream = EventStream(shop.population, ActivityClock(), START, None)
    sizes = []
    for batch in stream.batches():
        years = (int(batch.timestamp_us[-1]) - START) / (365 * DAY_US)
        if years >= len(sizes):
            sizes.append(len(stream._state.pair))
        if years > 8:
            break
    assert max(sizes[4:]) < 1.3 * max(sizes[:4])
    assert max(sizes) < SMALL.users * SMALL.products / 2
    assert all(later < 1.3 * earlier for earlier, later in pairwise(sizes[2:]))


@pytest.mark.parametrize(
    ("start", "horizon", "named"),
    [(START, 181 * DAY_US, "horizon"), (START, 0, "horizon"), (0, None, "start")],
)
def test_what_is_out_of_range_is_refused_by_name(start: int, horizon: int | None, named: str) -> None:
    with pytest.raises(InvalidShopError, match=named):
        Shop(SMALL).stream(start, horizon_us=horizon)


@pytest.mark.parametrize("numbers", [{"users": 0}, {"products": 0}, {"seed": -1}])
def test_a_config_out_of_range_is_refused_by_name(numbers: dict[str, int]) -> None:
    with pytest.raises(InvalidShopError, match=next(iter(numbers))):
        ShopConfig(**numbers)


@pytest.mark.parametrize("config", [ShopConfig(users=1, products=1), ShopConfig(users=3, products=2)])
def test_the_smallest_shops_have_events_too(config: ShopConfig) -> None:
    batch = next(Shop(config).stream(START, horizon_us=DAY_US))
    assert len(batch) > 0
    assert batch.probability is not None
    assert np.isfinite(batch.probability).all()
