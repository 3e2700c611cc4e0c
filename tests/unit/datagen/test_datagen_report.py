"""The report's numbers against a plain count, and its page."""

import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from reprise.datagen import history
from reprise.datagen.history import HistoryOptions, generate_history
from reprise.datagen.statistics import GAP_DAYS, HistoryStatistics
from reprise.runtime.durations import EPOCH, microseconds
from reprise.shop import EventBatch, Shop, ShopConfig
from reprise.shop.config import DAY_US

SHOP = ShopConfig(seed=9, users=250, products=40)
DAYS = 90
START = datetime(2026, 1, 1, tzinfo=UTC)
START_US = microseconds(START - EPOCH)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> HistoryOptions:
    folder = tmp_path_factory.mktemp("report")
    plan = HistoryOptions(
        folder / "h.parquet", SHOP, START, days=DAYS, truth=folder / "t.parquet", report=folder / "r.html"
    )
    generate_history(plan)
    return plan


@pytest.fixture(scope="module")
def statistics(plan: HistoryOptions) -> HistoryStatistics:
    shop = Shop(SHOP)
    statistics = HistoryStatistics(shop, START_US)
    end_us = START_US + DAYS * DAY_US
    for batch in shop.history(START_US, end_us, horizon_us=30 * DAY_US):
        for piece in (batch.take(slice(len(batch) // 3)), batch.take(slice(len(batch) // 3, None))):
            if len(piece):
                statistics.add(piece)
    return statistics


def test_rate_excludes_the_time_of_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 0

    def add_slowly(self: HistoryStatistics, batch: EventBatch) -> None:
        nonlocal seconds
        seconds += 100
        add(self, batch)

    add = HistoryStatistics.add
    monkeypatch.setattr(HistoryStatistics, "add", add_slowly)
    monkeypatch.setattr(history, "time", SimpleNamespace(monotonic=lambda: seconds))
    options = HistoryOptions(tmp_path / "h.csv", SHOP, START, days=2, report=tmp_path / "r.html")
    assert generate_history(options).seconds == 0
    assert seconds > 0


def test_counts_equal_a_plain_count_of_the_file(plan: HistoryOptions, statistics: HistoryStatistics) -> None:
    rows = pq.read_table(plan.out).to_pandas()
    when, kind = rows["timestamp"], rows["event_type"]
    assert statistics.events == len(rows)
    assert statistics.amount == pytest.approx(rows["amount"].sum())
    week = pd.crosstab(when.dt.weekday, when.dt.hour).reindex(index=range(7), columns=range(24), fill_value=0)
    np.testing.assert_array_equal(statistics.weekly, week)
    kinds = ["view", "purchase"]  # as VIEW and PURCHASE number them
    daily = pd.crosstab((when - START) // pd.Timedelta(days=1), kind)
    np.testing.assert_array_equal(statistics.daily, daily.reindex(range(DAYS), fill_value=0)[kinds])
    products = pd.crosstab(rows["product_id"], kind).reindex(Shop(SHOP).product_ids(), fill_value=0)
    np.testing.assert_array_equal(statistics.product_events, products[kinds])


def test_times_between_purchases_equal_a_plain_count_of_the_file(
    plan: HistoryOptions, statistics: HistoryStatistics
) -> None:
    rows = pq.read_table(plan.out).to_pandas()
    bought = rows[rows["event_type"] == "purchase"]
    gap = bought.groupby(["user_id", "product_id"])["timestamp"].diff().dropna() // pd.Timedelta(days=1)
    again = bought.loc[gap.index]
    shop = Shop(SHOP)
    category = dict(zip(shop.product_ids(), shop.population.products.category, strict=True))
    gaps = np.zeros_like(statistics.gaps)
    np.add.at(gaps, (again["product_id"].map(category), gap.clip(upper=GAP_DAYS)), 1)
    np.testing.assert_array_equal(statistics.gaps, gaps)
    assert statistics.users_repeating.sum() == again["user_id"].nunique() > 50


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
