"""The report's numbers against a plain count, and its page."""

import re
from collections import Counter, defaultdict
from datetime import datetime, timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest

from reprise.datagen.history import generate_history
from reprise.datagen.history_options import HistoryOptions
from reprise.datagen.statistics import GAP_DAYS, HistoryStatistics
from reprise.shop import PURCHASE, VIEW, Shop, ShopConfig

SHOP = ShopConfig(seed=9, users=250, products=40)
DAYS = 90


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> HistoryOptions:
    folder = tmp_path_factory.mktemp("report")
    plan = HistoryOptions(
        folder / "h.parquet", SHOP, days=DAYS, truth=folder / "t.parquet", report=folder / "r.html"
    )
    generate_history(plan)
    return plan


@pytest.fixture(scope="module")
def statistics(plan: HistoryOptions) -> HistoryStatistics:
    shop = Shop(SHOP)
    statistics = HistoryStatistics(shop, plan.start_us)
    end_us = plan.start_us + DAYS * 86_400_000_000
    for batch in shop.stream(plan.start_us, horizon_us=30 * 86_400_000_000):
        wanted = batch.before(end_us)
        for piece in (wanted.take(slice(len(wanted) // 3)), wanted.take(slice(len(wanted) // 3, None))):
            if len(piece):
                statistics.add(piece)
        if len(wanted) < len(batch):
            return statistics
    raise AssertionError


def test_counts_equal_a_plain_count_of_the_file(plan: HistoryOptions, statistics: HistoryStatistics) -> None:
    rows = pq.read_table(plan.out).to_pylist()
    week: Counter[tuple[int, int]] = Counter()
    daily: Counter[tuple[int, str]] = Counter()
    products: Counter[tuple[str, str]] = Counter()
    for row in rows:
        when: datetime = row["timestamp"]
        week[when.weekday(), when.hour] += 1
        daily[(when - plan.start) // timedelta(days=1), row["event_type"]] += 1
        products[row["product_id"], row["event_type"]] += 1
    assert statistics.events == len(rows)
    assert all(statistics.weekly[key] == count for key, count in week.items())
    assert len(statistics.daily) == DAYS
    kinds = ((VIEW, "view"), (PURCHASE, "purchase"))
    shop = Shop(SHOP)
    for kind, name in kinds:
        assert [daily[day, name] for day in range(DAYS)] == statistics.daily[:, kind].tolist()
        counted = [products[product, name] for product in shop.product_ids()]
        assert counted == statistics.product_events[:, kind].tolist()
    assert statistics.amount == pytest.approx(sum(row["amount"] or 0 for row in rows))


def test_times_between_purchases_equal_a_plain_count_of_the_file(
    plan: HistoryOptions, statistics: HistoryStatistics
) -> None:
    shop = Shop(SHOP)
    category = dict(zip(shop.product_ids(), shop.population.products.category, strict=True))
    gaps = np.zeros_like(statistics.gaps)
    last: dict[tuple[str, str], datetime] = {}
    repeating: dict[str, int] = defaultdict(int)
    for row in pq.read_table(plan.out).to_pylist():
        if row["event_type"] == "purchase":
            pair = row["user_id"], row["product_id"]
            if pair in last:
                days = (row["timestamp"] - last[pair]) // timedelta(days=1)
                gaps[category[pair[1]], min(days, GAP_DAYS)] += 1
                repeating[pair[0]] += 1
            last[pair] = row["timestamp"]
    np.testing.assert_array_equal(statistics.gaps, gaps)
    np.testing.assert_array_equal(statistics.repeats, gaps.sum(axis=1))
    assert statistics.users_repeating.sum() == len(repeating) > 50


def test_base_rate_and_auc_are_those_of_the_truth_file(
    plan: HistoryOptions, statistics: HistoryStatistics
) -> None:
    probability = pq.read_table(plan.truth)["probability"].to_numpy()
    assert statistics.base_rate == pytest.approx(probability.mean())
    ordered = np.sort(probability)
    below = np.cumsum(1 - ordered) - (1 - ordered) / 2
    expected = (ordered * below).sum() / (ordered.sum() * (1 - ordered).sum())
    assert statistics.oracle_auc == pytest.approx(expected, abs=1e-3)


def test_the_page_holds_its_plots_and_numbers_and_needs_nothing_else(
    plan: HistoryOptions, statistics: HistoryStatistics
) -> None:
    assert plan.report is not None
    page = plan.report.read_text(encoding="utf-8")
    assert page.count("<svg") == 7
    assert not re.search(r"<(script|link|img|iframe)\b", page)
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    for shown in (
        f"{statistics.events:,}",
        f"{statistics.purchases:,}",
        f"{statistics.base_rate:.2%}",
        "30d",
    ):
        assert shown in page
    for category in ("pet food", "coffee &amp; tea", "electronics"):
        assert category in page
