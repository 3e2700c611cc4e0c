"""The shop's stream: what it promises to those who read it."""

from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest

from reprise.shop import (
    CATEGORIES,
    EVENT_ID_LENGTH,
    PURCHASE,
    VIEW,
    EventBatch,
    InvalidShopError,
    Shop,
    ShopConfig,
)
from reprise.shop.activity_clock import ActivityClock
from reprise.shop.config import DAY_US
from reprise.shop.customer_lifetimes import ABSENCE_DAYS, CustomerLifetimes
from reprise.shop.event_stream import EventStream
from reprise.shop.shop import numbered_id

START = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 1_000_000
SMALL = ShopConfig(seed=3, users=400, products=60)


def history(
    config: ShopConfig, days: int, *, start: int = START, horizon_us: int | None = None
) -> list[EventBatch]:
    batches = []
    for batch in Shop(config).stream(start, horizon_us=horizon_us):
        batches.append(batch.before(start + days * DAY_US))
        if len(batches[-1]) < len(batch):
            return batches
    raise AssertionError("the stream ended")


def column(batches: list[EventBatch], name: str) -> np.ndarray:
    return np.concatenate([getattr(batch, name) for batch in batches])


COLUMNS = ("user", "product", "event_type", "timestamp_us", "amount", "discount", "sequence")


def test_equal_arguments_make_equal_events_with_or_without_the_truth() -> None:
    first = history(SMALL, 40)
    again = history(SMALL, 40, horizon_us=30 * DAY_US)
    for name in COLUMNS:
        np.testing.assert_array_equal(column(first, name), column(again, name))
    assert [batch.event_ids() for batch in first] == [batch.event_ids() for batch in again]


def test_another_seed_makes_another_shop() -> None:
    other = history(ShopConfig(seed=4, users=400, products=60), 10)
    mine = history(SMALL, 10)
    assert len(column(other, "user")) != len(column(mine, "user"))
    prices = [Shop(ShopConfig(seed=seed)).population.products.price[0] for seed in (3, 4)]
    assert prices[0] != prices[1]


def test_time_strictly_increases_from_the_start_on_across_batches() -> None:
    batches = history(SMALL, 60)
    assert len(batches) > 3
    when = column(batches, "timestamp_us")
    assert when[0] >= START
    assert (np.diff(when) > 0).all()
    assert (column(batches, "sequence") == np.arange(len(when))).all()


def test_event_ids_are_distinct_within_and_across_streams() -> None:
    ids = [
        event_id
        for start in (START, START + DAY_US)
        for batch in history(SMALL, 30, start=start)
        for event_id in batch.event_ids()
    ]
    assert len(set(ids)) == len(ids) > 5_000
    assert {len(event_id) for event_id in ids} == {EVENT_ID_LENGTH}
    assert all(int(event_id, 16) >= 0 for event_id in ids[:100])


def test_purchases_cost_the_price_less_the_discount_in_whole_cents_and_views_nothing() -> None:
    shop = Shop(SMALL)
    batches = history(SMALL, 60)
    kind, amount = column(batches, "event_type"), column(batches, "amount")
    product, discount = column(batches, "product"), column(batches, "discount")
    assert np.isnan(amount[kind == VIEW]).all()
    assert (discount[kind == VIEW] == 0).all()
    bought = np.flatnonzero(kind == PURCHASE)
    price = np.round(shop.population.products.price, 2)
    expected = np.round(price[product[bought]] * (100 - discount[bought].astype(float))) / 100
    np.testing.assert_allclose(amount[bought], expected, atol=1e-9)
    assert (amount[bought] > 0).all()
    assert 0.02 < (discount[bought] > 0).mean() < 0.6


def test_campaigns_are_busier_and_cheaper() -> None:
    start = int(datetime(2026, 11, 19, tzinfo=UTC).timestamp()) * 1_000_000
    batches = history(ShopConfig(users=1_500), 12, start=start)
    day = (column(batches, "timestamp_us") - start) // DAY_US
    per_day = np.bincount(day, minlength=12)
    assert per_day[8] > 1.4 * per_day[1]
    bought = column(batches, "event_type") == PURCHASE
    discount = column(batches, "discount")
    assert discount[bought & (day >= 8)].mean() > 3 * discount[bought & (day < 8)].mean()


def test_ids_are_of_equal_length_however_many_there_are() -> None:
    shop = Shop(SMALL)
    assert (shop.user_id(123), shop.product_id(42)) == ("u000123", "p00042")
    assert numbered_id("u", 5, 2_000_000, 6) == "u0000005"
    assert shop.user_ids()[7] == "u000007"


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
    batches = history(ShopConfig(users=300, products=20), 1_500)
    user, when = column(batches, "user"), column(batches, "timestamp_us")
    shop = Shop(ShopConfig(users=300, products=20))
    clock = ActivityClock()
    lives = CustomerLifetimes(shop.population, clock)
    lives.advance(START)
    segment = shop.population.users.segment
    for index in np.flatnonzero(lives.death < clock.read_all(START + 900 * DAY_US)[segment])[:40]:
        left = clock.instant(segment[[index]], lives.death[[index]])[0]
        gone = when[(user == index) & (when > left + DAY_US)]
        assert len(gone) == 0 or gone[0] >= left + ABSENCE_DAYS * DAY_US


def test_consumables_are_bought_again_on_a_cycle_and_durables_hardly_ever() -> None:
    shop = Shop()
    batches = history(shop.config, 365)
    bought = column(batches, "event_type") == PURCHASE
    pair = (column(batches, "user") * shop.config.products + column(batches, "product"))[bought]
    when = column(batches, "timestamp_us")[bought] / DAY_US
    order = np.lexsort((when, pair))
    same = np.flatnonzero(pair[order][1:] == pair[order][:-1])
    gap = (when[order][1:] - when[order][:-1])[same]
    pair = pair[order][1:][same]
    names = np.array([category.name for category in CATEGORIES])[shop.population.products.category]
    category = names[pair % shop.config.products]
    repeats = {name: int((category == name).sum()) for name in set(names)}
    assert min(repeats[name] for name in ("coffee & tea", "pet food", "snacks")) > 100 * repeats["books"]
    assert np.median(gap[category == "snacks"]) < np.median(gap[category == "skin care"]) / 2

    def spread(groups: np.ndarray) -> float:
        centred = np.concatenate(
            [np.log(gap[groups == key]) - np.log(gap[groups == key]).mean() for key in np.unique(groups)]
        )
        return float(centred.std())

    often = np.isin(
        pair, [key for key, count in zip(*np.unique(pair, return_counts=True), strict=True) if count > 4]
    )
    gap, pair = gap[often], pair[often]
    assert spread(pair) < 0.75 * spread(np.zeros_like(pair))


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
