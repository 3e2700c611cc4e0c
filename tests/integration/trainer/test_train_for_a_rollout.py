from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from reprise import sql
from reprise.bundle import BundleStore
from reprise.datagen.main import command as datagen
from reprise.evaluation.cluster_bootstrap import Interval
from reprise.features.plan import Plan
from reprise.trainer import pipeline
from reprise.trainer.exceptions import RolloutRefusedError
from reprise.trainer.pipeline import TrainingResult, train
from reprise.trainer.promotion.baseline_comparison import (
    BaselineComparison,
    PairedMetric,
    compare_with_baseline,
)
from reprise.trainer.settings import TrainerSettings
from reprise.trainer.summary import render_summary
from support.histories import PLAN_FILE
from support.plans import checked_in_plan, with_other_names
from support.rollout_resource import FakeRollout
from support.served_bundles import bundle_files, small_plan

pytestmark = pytest.mark.slow

HORIZON = timedelta(days=10)


@pytest.fixture(autouse=True)
def _silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRISE_PROGRESS", "off")


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("history") / "events.parquet"
    shop = ["--users", "60", "--products", "30", "--start", "2026-01-01", "--days", "90", "--horizon", "10d"]
    result = CliRunner().invoke(datagen, [*shop, "--out", str(path)])
    assert result.exit_code == 0, result.output
    return path


def trained(events: Path, models: Path, api: FakeRollout | None = None, **others: object) -> TrainingResult:
    given = {"plan": PLAN_FILE, "horizon": HORIZON} | others
    settings = TrainerSettings.load(
        events=events, out=str(models), cv_folds=0, rollout=None if api is None else "shop/model", **given
    )
    return train(settings, open_rollout=lambda _: api)


def test_worse_model_leaves_the_latest_and_a_candidate_leaves_it_to_the_rollout(
    events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The candidate's baseline was grown on the very rows that the candidate is evaluated on."""
    plan, orders, models = tmp_path / "plan.json", tmp_path / "orders.parquet", tmp_path / "models"
    plan.write_bytes(with_other_names(small_plan()).dumps())
    renamed = f"SELECT * REPLACE (replace(event_type, 'purchase', 'order') AS event_type) FROM '{events}'"
    with sql.connect() as connection:
        sql.copy_to_parquet(connection, renamed, orders)
    given = {"plan": plan, "refund_window": "1d"}
    store = BundleStore(str(models))
    seconds = {"horizon_seconds": round(HORIZON.total_seconds()), "refund_window_seconds": 86_400}
    before = store.publish(bundle_files(with_other_names(checked_in_plan()), bias=-1.0, **seconds))
    store.set_latest(before)
    compared = []

    def lose(*arguments: object) -> BaselineComparison:
        found = compare_with_baseline(*arguments)  # type: ignore[arg-type]
        compared.append(found)
        loss = PairedMetric(0.3, 0.2, Interval(-0.1, -0.15, -0.05))
        return replace(found, metrics={"brier": loss})

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "compare_with_baseline", lose)
        worse = trained(orders, models, **given)
    assert store.latest() == before == compared[0].baseline
    assert not compared[0].losses
    summary = render_summary(worse)
    assert (
        f"latest      no, {before} stays: its Brier score 0.3000 is worse than the baseline's 0.2000, by 0.0500"
        in summary
    )
    assert "buys within 10d, not returned within 1d" in summary
    manifest = worse.manifest
    assert worse.run.ranking is not None
    assert manifest.refund_window_seconds == 86_400
    assert Plan.from_dict(manifest.plan).purchase_type == "order"
    assert manifest.data.evaluation.positives > 0

    api = FakeRollout(worse.digest)
    again = trained(orders, models, api, seed=1, **given)
    assert again.digest != worse.digest
    assert again.proposal.outcome == "proposed"
    assert f"rollout     shop/model: proposed, {again.proposal.reason}" in render_summary(again)
    assert api.resource["spec"]["candidates"][0]["digest"] == again.digest
    assert store.latest() == before
    comparison, evaluated = again.proposal.comparison, again.manifest.evaluation.overall
    assert comparison.rows == evaluated.rows
    brier = comparison.metrics["brier"]
    assert brier.candidate == evaluated.model.brier
    assert brier.baseline == pytest.approx(manifest.evaluation.overall.model.brier, abs=1e-9)


def test_models_of_other_labels_are_not_compared(events: Path, tmp_path: Path) -> None:
    other = BundleStore(str(tmp_path)).publish(bundle_files())
    with pytest.raises(RolloutRefusedError, match=r"30d.*10d"):
        trained(events, tmp_path, FakeRollout(other))
    with pytest.raises(RolloutRefusedError, match=r"refund window.*0s.*14d"):
        trained(events, tmp_path, FakeRollout(other), horizon="30d", refund_window="14d")
    orders = BundleStore(str(tmp_path)).publish(bundle_files(with_other_names(small_plan())))
    with pytest.raises(RolloutRefusedError, match=r"event type.*order.*purchase"):
        trained(events, tmp_path, FakeRollout(orders), horizon="30d")
