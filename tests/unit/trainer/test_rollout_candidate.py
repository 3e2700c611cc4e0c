from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from reprise.bundle import Bundle, BundleStore
from reprise.evaluation.cluster_bootstrap import Interval
from reprise.features.plan import Plan
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.evaluation.held_out import Predictions
from reprise.trainer.exceptions import RolloutConflictError, RolloutRefusedError
from reprise.trainer.promotion.baseline_comparison import (
    BaselineComparison,
    PairedMetric,
    compare_with_baseline,
)
from reprise.trainer.promotion.candidate import Proposal, propose, serving_baseline
from reprise.trainer.promotion.rollout_api import rollout_name
from support.labelled_rows import make_table
from support.rollout_resource import FakeRollout
from support.served_bundles import bundle_files, small_plan

START_US = 1_767_225_600_000_000  # 2026-01-01, when the evaluation of bundle_files begins
BASELINE, NEW, OLD = (f"sha256:{digit * 64}" for digit in "abc")


def comparison(brier: float = 0.0, roc_auc: float = 0.0, half: float = 0.01) -> BaselineComparison:
    """A comparison with these improvements, each with an interval of ± ``half``."""
    metrics = {
        "brier": PairedMetric(0.1 - brier, 0.1, Interval(brier, brier - half, brier + half)),
        "roc_auc": PairedMetric(0.8 + roc_auc, 0.8, Interval(roc_auc, roc_auc - half, roc_auc + half)),
    }
    return BaselineComparison(BASELINE, 1_000, 80, metrics)


def proposed(
    api: FakeRollout, compared: BaselineComparison | None = None, percent: float | None = None
) -> Proposal:
    return propose(api, "trained", NEW, percent, compared or comparison())


def mine(percent: float) -> dict[str, Any]:
    return {"name": "mine", "digest": OLD, "trafficPercent": percent}


BEFORE = {"name": "trained", "digest": OLD, "trafficPercent": 10, "shadow": True}


@pytest.mark.parametrize(
    ("others", "before", "percent", "expected"),
    [
        pytest.param([], [], None, {"trafficPercent": 50.0}, id="a new one gets half of the users"),
        pytest.param([mine(80)], [], None, {"trafficPercent": 20.0}, id="or what the others leave"),
        pytest.param([mine(30)], [], 12.5, {"trafficPercent": 12.5}, id="or what it is given"),
        pytest.param(
            [mine(30)], [BEFORE], None, {"trafficPercent": 10, "shadow": True}, id="an old one keeps its own"
        ),
    ],
)
def test_a_bundle_becomes_the_candidate_once(
    others: list[Any], before: list[Any], percent: float | None, expected: dict[str, Any]
) -> None:
    api = FakeRollout(BASELINE, [*others, *before])
    found = proposed(api, percent=percent)
    assert (found.outcome, found.rollout) == ("proposed", "shop/model")
    assert api.resource["spec"]["candidates"] == [*others, {"name": "trained", "digest": NEW, **expected}]
    assert proposed(api, percent=percent).outcome == "unchanged"
    assert len(api.patches) == 1


@pytest.mark.parametrize(
    ("others", "percent", "reason"), [(100, None, r"shop/model.*100%"), (80, 30.0, "cannot have 30%")]
)
def test_no_share_left_is_refused_with_the_reason(others: float, percent: float | None, reason: str) -> None:
    api = FakeRollout(BASELINE, [mine(others)])
    with pytest.raises(RolloutRefusedError, match=reason):
        proposed(api, percent=percent)
    assert api.patches == []


@pytest.mark.parametrize(
    ("compared", "reasons"),
    [
        pytest.param(
            comparison(brier=-0.02, roc_auc=-0.03),
            ["Brier score 0.1200 is worse than the baseline's 0.1000, by 0.0100 to 0.0300", "ROC AUC 0.7700"],
            id="worse",
        ),
        pytest.param(BaselineComparison(BASELINE, 7, 3, {}), ["only 7 held-out rows"], id="not comparable"),
        pytest.param(replace(comparison(), baseline=OLD), ["baseline has changed"], id="another baseline"),
    ],
)
def test_a_model_that_is_not_shown_to_hold_against_the_baseline_is_not_proposed(
    compared: BaselineComparison, reasons: list[str]
) -> None:
    api = FakeRollout(BASELINE)
    found = proposed(api, compared)
    assert (found.outcome, api.patches) == ("refused", [])
    assert all(reason in found.reason for reason in reasons)


def test_a_difference_that_may_be_chance_is_not_worse() -> None:
    assert proposed(FakeRollout(BASELINE), comparison(brier=-0.02, half=0.03)).outcome == "proposed"
    assert proposed(FakeRollout(BASELINE), comparison(roc_auc=float("nan"))).outcome == "proposed"


def test_the_baseline_itself_is_no_candidate() -> None:
    api = FakeRollout(BASELINE)
    assert propose(api, "trained", BASELINE, None, None).outcome == "unchanged"
    assert api.patches == []


def test_changes_of_others_are_never_overwritten() -> None:
    api = FakeRollout(BASELINE, meddle=3)
    assert proposed(api).outcome == "proposed"
    assert len(api.patches) == 4
    with pytest.raises(RolloutConflictError, match="shop/model"):
        proposed(FakeRollout(BASELINE, meddle=100))


def test_what_was_promoted_serves_until_the_spec_names_another() -> None:
    resource: dict[str, Any] = {
        "metadata": {"namespace": "shop", "name": "model"},
        "spec": {"baseline": {"digest": BASELINE}},
    }
    assert serving_baseline(resource) == BASELINE
    resource["status"] = {"baseline": {"digest": OLD, "specDigest": BASELINE}}
    assert serving_baseline(resource) == OLD
    resource["spec"]["baseline"]["digest"] = NEW
    assert serving_baseline(resource) == NEW
    with pytest.raises(RolloutRefusedError, match=r"spec\.baseline\.digest"):
        serving_baseline({"metadata": {}, "spec": {}})


def test_name_without_a_namespace_is_of_the_default_one() -> None:
    assert rollout_name("shop/model") == ("shop", "model")
    assert rollout_name("model") == ("default", "model")


def test_baseline_is_scored_on_the_same_rows_whatever_the_order_of_its_inputs() -> None:
    bundle, plan = _bundle(weights={"pair_purchases": 2.0}, bias=-1.0), small_plan()
    rng = np.random.default_rng(0)
    inputs = rng.poisson(1.0, (500, len(plan.inputs))).astype(np.float32)
    bought = inputs[:, plan.input_names.index("pair_purchases")]
    truth = 1 / (1 + np.exp(1.0 - 2.0 * bought))
    table = _table(inputs, rng.random(500) < truth)

    def never(_: Plan) -> Dataset:
        raise AssertionError("the rows are of the same plan")

    same = compare_with_baseline(_scored(table, truth), plan, bundle, bundle.model, never)
    for metric in same.metrics.values():
        assert metric.candidate == pytest.approx(metric.baseline, abs=1e-6)
    assert same.objections == []
    constant = compare_with_baseline(_scored(table, np.full(500, 0.5)), plan, bundle, bundle.model, never)
    assert len(constant.objections) == 2


def test_rows_of_another_plan_are_computed_anew() -> None:
    document, plan = small_plan().to_dict(), small_plan()
    document["entities"]["product"]["state"][0]["frame"] = "purchases"
    document["entities"]["product"]["inputs"][0]["finish"]["field"] = "purchases_count"
    bundle = _bundle(Plan.from_dict(document))
    table = _table(np.zeros((40, len(plan.inputs)), np.float32), np.arange(40) % 2 == 0)
    asked = []

    def rows_of(other: Plan) -> Dataset:
        asked.append(other)
        return _table(np.ones((40, len(other.inputs)), np.float32), table.labels)

    found = compare_with_baseline(_scored(table, np.full(40, 0.5)), plan, bundle, bundle.model, rows_of)
    assert [other.hash for other in asked] == [bundle.manifest.plan_hash]
    assert (found.rows, found.users) == (40, 10)


def test_rows_that_the_baseline_was_fitted_on_are_not_compared() -> None:
    start = datetime.fromtimestamp(START_US / 1e6 + 30, tz=UTC).isoformat()
    bundle, plan = _bundle(evaluation_start=start), small_plan()
    table = _table(np.zeros((60, len(plan.inputs)), np.float32), np.arange(60) % 2 == 0)
    scored = _scored(table, np.linspace(0, 1, 60))

    def compared(rows: Predictions) -> BaselineComparison:
        return compare_with_baseline(rows, plan, bundle, bundle.model, lambda _: table)

    assert compared(scored).rows == 30
    assert set(compared(scored).metrics) == {"brier", "roc_auc"}
    few = compared(scored.subset(slice(0, 49)))
    assert (few.rows, few.metrics) == (19, {})
    assert "cannot be compared" in few.objections[0]


def _bundle(*given: Any, **others: Any) -> Bundle:
    store = BundleStore("memory://rollout-candidate")
    return store.fetch(store.publish(bundle_files(*given, **others)))


def _table(inputs: np.ndarray, labels: np.ndarray) -> Dataset:
    seconds = np.arange(len(labels))
    times = START_US + seconds * 1_000_000
    return replace(
        make_table(len(labels))[0], inputs=inputs, labels=labels, timestamps_us=times, users=seconds % 10
    )


def _scored(table: Dataset, probabilities: np.ndarray) -> Predictions:
    return Predictions(table, {"model": probabilities})
