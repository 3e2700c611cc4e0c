"""Users' products are ranked by what was known at the instant, and judged by what they bought after it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from reprise.events import Event
from reprise.features.plan import Plan
from reprise.trainer.evaluation.buy_again import BuyAgainReport, evaluate_buy_again
from reprise.trainer.settings import TrainerSettings
from support.histories import event_table
from support.plans import checked_in_plan, with_other_names

DAY_US = 86_400_000_000
INSTANT_US = 20_000 * DAY_US
PLAN = checked_in_plan()


def by_recency(rows: np.ndarray) -> np.ndarray:
    """Score by the days since the pair's last purchase alone."""
    return -rows[:, PLAN.input_names.index("pair_days_since_purchase")]


def purchases(*bought: tuple[str, str, float]) -> list[Event]:
    return [
        Event(f"e{at}", user, product, "purchase", INSTANT_US + round(day * DAY_US), 1.0)
        for at, (user, product, day) in enumerate(bought)
    ]


def evaluated(folder: Path, events: list[Event], plan: Plan = PLAN) -> BuyAgainReport | None:
    path = folder / "events.parquet"
    pq.write_table(event_table(events), path)
    settings = TrainerSettings.load(events=path, out="models", horizon="30d", memory_limit="1GiB")
    return evaluate_buy_again(path, plan, by_recency, INSTANT_US, settings, folder)


def test_a_ranking_by_recency_is_the_last_purchase_order_and_is_judged_by_the_next_30_days(
    tmp_path: Path,
) -> None:
    report = evaluated(
        tmp_path,
        purchases(
            *(
                ("a", "x", -9),
                ("a", "y", -2),
                ("a", "z", -40),
                ("a", "z", -20),
                ("a", "z", 5),
            ),  # z, the last of three
            *(("b", "x", -9), ("b", "y", -2), ("b", "y", 30), ("b", "x", 31)),  # y, the first of two
            *(("c", "x", -5), ("c", "y", -4), ("c", "new", 3)),  # nothing again
            *(("d", "x", -5), ("d", "x", 3)),  # one product
        ),
    )
    assert (report.users, report.products) == (2, 5)
    model = report.rankings["model"]
    assert model["AUC within user"][0].value == pytest.approx((0 + 1) / 2)
    assert model["NDCG@10"][0].value == pytest.approx((1 / np.log2(4) + 1) / 2)
    assert model["recall@10"][0].value == 1.0
    for mean, lead in report.rankings["last purchase"].values():
        assert (mean.value > 0, lead.value) == (True, 0.0)
    assert "last purchase" in report.not_behind("NDCG@10")
    assert set(report.rankings) == {
        *("model", "last purchase", "frequency", "repeat customers", "aggregate time distribution"),
        *("Poisson-gamma", "modified Poisson-gamma"),
    }


def test_purchases_and_the_length_of_lists_are_the_plans(tmp_path: Path) -> None:
    text = with_other_names(PLAN).dumps().decode()
    plan = Plan.from_dict(json.loads(text.replace('"limit": 100', '"limit": 2')))
    bought = purchases(*(("a", product, -day) for day, product in enumerate("xyz", 1)), ("a", "x", 3))
    orders = [replace(event, event_type="order") for event in bought]
    report = evaluated(tmp_path, [*orders, replace(bought[0], event_id="other", product_id="other")], plan)
    assert (report.users, report.products) == (1, 2)


def test_without_a_user_who_bought_again_there_is_no_ranking(tmp_path: Path) -> None:
    assert evaluated(tmp_path, purchases(("a", "x", -9), ("a", "y", -2), ("a", "new", 5))) is None
