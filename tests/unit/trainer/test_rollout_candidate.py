from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from reprise.bundle import Bundle, BundleStore
from reprise.evaluation.cluster_bootstrap import Interval
from reprise.evaluation.poisson_gamma import PastPurchases
from reprise.features.plan import Plan
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.evaluation.held_out import Predictions
from reprise.trainer.exceptions import RolloutConflictError, RolloutRefusedError, RolloutUnavailableError
from reprise.trainer.promotion.baseline_comparison import (
    BaselineComparison,
    PairedMetric,
    compare_with_baseline,
)
from reprise.trainer.promotion.candidate import Proposal, build_candidate_patch, propose, serving_baseline
from reprise.trainer.promotion.rollout_api import rollout_name
from support.rollout_resource import FakeRollouts
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


def proposed(api: FakeRollouts, compared: BaselineComparison | None = None, **others: Any) -> Proposal:
    given = {"candidate": "trained", "digest": NEW, "traffic_percent": None} | others
    return propose(api, "shop", "model", comparison=compared or comparison(), **given)


def test_a_new_candidate_is_made_with_half_of_the_users() -> None:
    api = FakeRollouts(BASELINE)
    found = proposed(api)
    assert (found.outcome, found.rollout) == ("proposed", "shop/model")
    assert api.resource["spec"]["candidates"] == [{"name": "trained", "digest": NEW, "trafficPercent": 50.0}]


def test_a_candidate_that_is_there_keeps_what_people_have_set() -> None:
    others = {"name": "mine", "digest": OLD, "trafficPercent": 30}
    api = FakeRollouts(
        BASELINE, [others, {"name": "trained", "digest": OLD, "trafficPercent": 10, "shadow": True}]
    )
    assert proposed(api).outcome == "proposed"
    assert api.resource["spec"]["candidates"] == [
        others,
        {"name": "trained", "digest": NEW, "trafficPercent": 10, "shadow": True},
    ]


def test_a_new_candidate_takes_what_the_others_leave() -> None:
    api = FakeRollouts(BASELINE, [{"name": "mine", "digest": OLD, "trafficPercent": 80}])
    proposed(api)
    assert api.resource["spec"]["candidates"][1]["trafficPercent"] == 20.0


def test_no_share_left_is_refused_with_the_reason() -> None:
    api = FakeRollouts(BASELINE, [{"name": "mine", "digest": OLD, "trafficPercent": 100}])
    with pytest.raises(RolloutRefusedError, match=r"shop/model.*100%"):
        proposed(api)
    assert api.patches == []
    with pytest.raises(RolloutRefusedError, match="cannot have 30%"):
        proposed(
            FakeRollouts(BASELINE, [{"name": "mine", "digest": OLD, "trafficPercent": 80}]),
            traffic_percent=30.0,
        )


def test_a_worse_model_is_not_proposed() -> None:
    api = FakeRollouts(BASELINE)
    found = proposed(api, comparison(brier=-0.02, roc_auc=-0.03))
    assert found.outcome == "refused"
    assert "Brier score 0.1200 is worse than the baseline's 0.1000, by 0.0100 to 0.0300" in found.reason
    assert "ROC AUC 0.7700" in found.reason
    assert api.patches == []


def test_a_difference_that_may_be_chance_is_not_worse() -> None:
    assert proposed(FakeRollouts(BASELINE), comparison(brier=-0.02, half=0.03)).outcome == "proposed"
    assert proposed(FakeRollouts(BASELINE), comparison(roc_auc=float("nan"))).outcome == "proposed"


def test_what_cannot_be_compared_is_not_proposed() -> None:
    api = FakeRollouts(BASELINE)
    found = proposed(api, BaselineComparison(BASELINE, 7, 3, {}))
    assert found.outcome == "refused"
    assert "only 7 held-out rows" in found.reason
    assert api.patches == []


def test_nothing_is_asked_twice() -> None:
    api = FakeRollouts(BASELINE)
    proposed(api)
    assert proposed(api).outcome == "unchanged"
    assert len(api.patches) == 1


def test_the_baseline_itself_is_no_candidate() -> None:
    api = FakeRollouts(BASELINE)
    found = propose(
        api, "shop", "model", candidate="trained", digest=BASELINE, traffic_percent=None, comparison=None
    )
    assert found.outcome == "unchanged"
    assert api.patches == []


def test_changes_of_others_are_never_overwritten() -> None:
    api = FakeRollouts(BASELINE, meddle=3)
    assert proposed(api).outcome == "proposed"
    assert len(api.patches) == 4
    with pytest.raises(RolloutConflictError, match="shop/model"):
        proposed(FakeRollouts(BASELINE, meddle=100))


def test_a_baseline_that_changed_meanwhile_was_not_compared() -> None:
    found = proposed(FakeRollouts(OLD))
    assert found.outcome == "refused"
    assert "baseline has changed" in found.reason


def test_an_unknown_rollout_is_named() -> None:
    with pytest.raises(RolloutUnavailableError, match="shop/other"):
        propose(
            FakeRollouts(BASELINE), "shop", "other", candidate="trained", digest=NEW, traffic_percent=None,
            comparison=comparison(),
        )  # fmt: skip


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


def test_patch_names_the_version_that_it_was_made_from() -> None:
    patch = build_candidate_patch(FakeRollouts(BASELINE).resource, "trained", NEW, 12.5)
    assert patch == {
        "metadata": {"resourceVersion": "1"},
        "spec": {"candidates": [{"name": "trained", "digest": NEW, "trafficPercent": 12.5}]},
    }


def test_name_without_a_namespace_is_of_the_default_one() -> None:
    assert rollout_name("shop/model") == ("shop", "model")
    assert rollout_name("model") == ("default", "model")


def test_baseline_is_scored_on_the_same_rows_whatever_the_order_of_its_inputs() -> None:
    store = BundleStore("memory://comparison")
    bundle = store.fetch(store.publish(bundle_files(weights={"pair_purchases": 2.0}, bias=-1.0)))
    plan = small_plan()
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
    bundle = _bundle_of_another_plan()
    plan = small_plan()
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
    store = BundleStore("memory://grown-later")
    bundle = store.fetch(store.publish(bundle_files(evaluation_start=start)))
    plan = small_plan()
    inputs = np.zeros((60, len(plan.inputs)), np.float32)
    table = _table(inputs, np.arange(60) % 2 == 0)
    scored = _scored(table, np.linspace(0, 1, 60))

    def compared(rows: Predictions) -> BaselineComparison:
        return compare_with_baseline(rows, plan, bundle, bundle.model, lambda _: table)

    assert compared(scored).rows == 30
    assert set(compared(scored).metrics) == {"brier", "roc_auc"}
    few = compared(scored.subset(slice(0, 49)))
    assert (few.rows, few.metrics) == (19, {})
    assert "cannot be compared" in few.objections[0]


def _bundle_of_another_plan() -> Bundle:
    document = small_plan().to_dict()
    document["entities"]["product"]["state"][0]["frame"] = "purchases"
    document["entities"]["product"]["inputs"][0]["finish"]["field"] = "purchases_count"
    store = BundleStore("memory://other-plan")
    return store.fetch(store.publish(bundle_files(Plan.from_dict(document))))


def _table(inputs: np.ndarray, labels: np.ndarray) -> Dataset:
    rows = len(labels)
    return Dataset(
        inputs=inputs,
        labels=labels,
        timestamps_us=START_US + np.arange(rows, dtype=np.int64) * 1_000_000,
        repeat_candidates=np.zeros(rows, np.bool_),
        recency_days=np.full(rows, np.nan),
        users=np.arange(rows, dtype=np.int64) % 10,
        asked=np.zeros(rows, np.int8),
        truth=None,
        past=PastPurchases(*[np.full(rows, np.nan)] * 7),
    )


def _scored(table: Dataset, probabilities: np.ndarray) -> Predictions:
    return Predictions(table, {"model": probabilities})
