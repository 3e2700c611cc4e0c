"""What the demo prints of the shop's answers."""

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from reprise.cli.demo.report import DemoResult, print_report

BACKTEST = {
    "at": "2026-10-30T00:00:00Z",
    "in_sample": False,
    "wape": 0.184,
    "seasonal_naive": 0.173,
    "moving_average": None,
    "covered": 0.87,
}
RETENTION = {
    "backtests": [
        {
            "at": "2026-10-30T00:00:00Z",
            "users": 1_200,
            "expected_buyers": 803.6,
            "buyers": 790,
            "roc_auc": 0.81,
            "recency_roc_auc": None,
            "in_sample": False,
        }
    ]
}
PRODUCTS = [
    {"product_id": f"p{number}", "units": 40.4 - number, "units_high": 52.0, "revenue": 1_234.0}
    for number in range(7)
]


def printed(**changed: Any) -> str:
    measures = {"roc_auc": 0.8}
    demand = {
        "at": "2026-11-29T00:00:00Z",
        "horizon_seconds": 30 * 86_400,
        "backtests": [BACKTEST],
        "by_revenue": PRODUCTS,
    }
    ranking = {
        "users": 318,
        "rankings": {
            name: {"NDCG@10": {"value": value}}
            for name, value in (("model", 0.71), ("last purchase", 0.654), ("frequency", 0.7))
        },
    }
    result = DemoResult(
        metadata={
            "evaluation": {"overall": {"model": measures, "baselines": {}, "rows": 10}, "questions": {}},
            "backtests": changed.get("backtests", []),
            "backtests_ended": "the history is too short",
            "buy_again": changed.get("ranking", ranking),
        },
        demand={**demand, **changed.get("demand", {})},
        retention=changed.get("retention", RETENTION),
        comparisons=(),
        history_events=1,
        streamed_events=1,
        folded=1,
        freshness="",
        predictions="",
        request={},
        response={},
        buy_again={"user_id": "u1", "results": []},
        ab_test=None,
        seconds=1.0,
    )
    out = io.StringIO()
    print_report(
        Console(file=out, width=200), result, {"predictor": "http://p"}, {"report": Path("page.html")}
    )
    return out.getvalue()


def test_five_products_are_to_be_reordered_first_and_each_answer_has_its_backtest() -> None:
    found = printed()
    assert "What to reorder first, until 2026-12-29" in found
    assert "p0           stock up to    52, expected 40, revenue 1,234" in found
    assert "p4 " in found
    assert "p5 " not in found
    assert "NDCG@10 0.710 for 318 users (last purchase 0.654, best baseline, frequency, 0.700)" in found
    assert (
        "WAPE from 2026-10-30 18.4% (seasonal-naive 17.3%, moving average –), 87.0% of the products in the interval"
        in found
    )
    assert (
        "from 2026-10-30 ROC AUC 0.810 (by recency –), 804 of 1,200 users expected to buy, 790 bought"
        in found
    )
    assert "learnt" not in found
    assert "report       page.html" in found


def test_answers_without_a_backtest_say_so() -> None:
    no_bound = [PRODUCTS[0] | {"units_high": None}]
    found = printed(ranking=None, demand={"backtests": [], "by_revenue": no_bound}, retention=None)
    assert "too few users for a model of users" in found
    assert "too short for a backtest" in found
    assert "no user of the evaluation bought anything again" in found
    assert "stock up to     –" in found
    learnt = printed(demand={"backtests": [BACKTEST | {"in_sample": True, "covered": None}]})
    assert "– of the products in the interval; the model has learnt from it" in learnt


def test_a_model_in_its_first_window_of_service_is_shown_with_its_calibration() -> None:
    questions = {"idle, bought before": {"model": {"calibration_error": 0.0123}}}
    overall = {"model": {"roc_auc": 0.85}, "oracle": {"roc_auc": 0.88}}
    evaluation = {"overall": overall, "repeat_candidates": None, "questions": questions}
    test = {"start": "2026-09-01T00:00:00Z", "end": "2026-10-01T00:00:00Z", "evaluation": evaluation}
    found = " ".join(printed(backtests=[test]).split())
    assert "a model as of 2026-09-01, judged until 2026-10-01: AUC 0.850, bought before –" in found
    assert "oracle 0.880, (AUC − 0.5) is 92.1% of the oracle's" in found
    assert "idle, bought before 0.012" in found
    evaluation["overall"] = {"model": {"roc_auc": 0.85}}
    assert "of the oracle's" not in printed(backtests=[test])
    assert "none: the history is too short" in printed()
