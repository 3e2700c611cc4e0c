"""``reprise demand`` adds up the scores of what was known at the instant, and judges itself at earlier ones."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from reprise.scoring.demand.forecast import wape
from reprise.scoring.demand.manifest import DemandManifest
from reprise.scoring.main import demand_command as command
from support.demand_shop import AT, arguments, publish_model, purchases
from support.served_bundles import logistic_graph, small_plan

MONTH = timedelta(days=30)
HISTORY = purchases()
PAST = HISTORY.filter(pc.less(HISTORY["timestamp"], pa.scalar(AT)))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> str:
    return publish_model(tmp_path_factory.mktemp("models"))


def run(models: str, folder: Path, history: pa.Table, *more: str) -> Result:
    words = (*arguments(models, folder, history), *more)
    return CliRunner(env={"REPRISE_PROGRESS": "off"}).invoke(command, words, catch_exceptions=False)


def written(folder: Path) -> list[dict[str, float]]:
    (path,) = folder.glob("demand-2026-05-01-*[!n]")
    return (pq.read_table if path.suffix == ".parquet" else pacsv.read_csv)(path).to_pylist()


def test_expectations_are_those_of_what_was_known_at_the_instant(models: str, tmp_path: Path) -> None:
    result = run(models, tmp_path, HISTORY, "--backtests", "2")
    assert result.exit_code == 0, result.output
    rows = {row["product_id"]: row for row in written(tmp_path)}
    assert len(rows) == 4
    pairs = PAST.group_by(["user_id", "product_id"]).aggregate([("timestamp", "min"), ("event_id", "count")])
    for product, row in rows.items():
        own = pairs.filter(pc.equal(pairs["product_id"], product))
        probabilities = 1 / (1 + np.exp(2 - 0.5 * own["event_id_count"].to_numpy()))
        assert row["repeat_buyers"] == pytest.approx(probabilities.sum(), rel=1e-5)
        firsts = [(AT - first) / MONTH for first in own["timestamp_min"].to_pylist()]
        windows = min(3, max(firsts))
        assert row["new_buyers"] == pytest.approx(sum(first <= 3 for first in firsts) / windows)
        assert row["units"] > row["repeat_buyers"] + row["new_buyers"] - 1e-9
        assert row["units_low"] < row["units"] < row["units_high"]
        assert row["repeat_buyers_low"] <= row["repeat_buyers"] <= row["repeat_buyers_high"]
    assert rows["product-0"]["revenue"] == 0
    assert rows["product-1"]["revenue"] / rows["product-1"]["units"] == pytest.approx(5, abs=0.5)
    first, second = result.output.splitlines()[-2:]
    assert first.startswith("2026-03-02")
    assert first.endswith("the model has learnt from it")
    assert second.startswith("2026-04-01")
    assert second.endswith("%")


def test_a_further_horizon_is_forecast_by_its_own_graph_into_a_file_of_its_own(tmp_path: Path) -> None:
    week = logistic_graph({}, -2.0, small_plan().input_names)
    models = publish_model(tmp_path / "models", horizons={604_800: week})
    assert run(models, tmp_path, HISTORY, "--backtests", "2").exit_code == 0
    result = run(models, tmp_path, HISTORY, "--backtests", "2", "--horizon", "7d")
    assert result.exit_code == 0, result.output
    (path,) = tmp_path.glob("demand-2026-05-01-*-604800.json")
    manifest = DemandManifest.model_validate_json(path.read_bytes())
    assert manifest.horizon_seconds == 604_800
    assert [AT - each.at for each in manifest.backtests] == [timedelta(days=14), timedelta(days=7)]
    pairs = len(PAST.group_by(["user_id", "product_id"]).aggregate([]))
    assert manifest.repeat_buyers == pytest.approx(pairs / (1 + np.exp(2)), rel=1e-5)
    assert run(models, tmp_path, HISTORY, "--backtests", "2", "--horizon", "7d").output.startswith(
        "nothing to do"
    )
    assert len(list(tmp_path.glob("demand-*.json"))) == 2


def test_later_events_change_nothing(models: str, tmp_path: Path) -> None:
    found = []
    for name, history in (("all", HISTORY), ("past", PAST)):
        folder = tmp_path / name
        folder.mkdir()
        assert run(models, folder, history, "--backtests", "1", "--format", "csv").exit_code == 0
        found.append(written(folder))
    for row, other in zip(*found, strict=True):
        assert row == pytest.approx(other)


def test_the_manifest_has_totals_and_errors_and_a_complete_forecast_is_not_repeated(
    models: str, tmp_path: Path
) -> None:
    run(models, tmp_path, HISTORY, "--backtests", "2")
    (path,) = tmp_path.glob("demand-*.json")
    manifest = DemandManifest.model_validate_json(path.read_bytes())
    rows = written(tmp_path)
    assert manifest.products == len(rows)
    for name in ("units", "repeat_buyers", "new_buyers", "revenue"):
        assert getattr(manifest, name) == pytest.approx(sum(row[name] for row in rows))
    first, second = manifest.backtests
    assert (first.covered, first.in_sample, second.in_sample) == (None, True, False)
    assert 0 <= second.covered <= 1
    assert 0 < second.wape < 1
    before = {each.name: each.stat().st_mtime_ns for each in tmp_path.glob("demand-*")}
    assert run(models, tmp_path, HISTORY, "--backtests", "2").output.startswith("nothing to do")
    assert {each.name: each.stat().st_mtime_ns for each in tmp_path.glob("demand-*")} == before
    replaced = run(models, tmp_path, HISTORY, "--backtests", "1", "--format", "csv")
    assert not replaced.output.startswith("nothing to do")
    assert sorted(each.suffix for each in tmp_path.glob("demand-*")) == [".csv", ".json"]


def test_a_history_without_a_whole_backtest_gives_no_interval(models: str, tmp_path: Path) -> None:
    recent = HISTORY.filter(pc.greater(HISTORY["timestamp"], pa.scalar(AT - timedelta(days=50))))
    result = run(models, tmp_path, recent)
    assert result.exit_code == 0, result.output
    assert "too short" in result.output
    assert {row["units_low"] for row in written(tmp_path)} == {None}


def test_a_history_shorter_than_the_horizon_is_refused(models: str, tmp_path: Path) -> None:
    recent = HISTORY.filter(pc.greater(HISTORY["timestamp"], pa.scalar(AT - timedelta(days=20))))
    result = run(models, tmp_path, recent)
    assert result.exit_code == 1
    assert "at least one horizon" in result.output


def test_a_history_without_a_purchase_is_refused(models: str, tmp_path: Path) -> None:
    views = HISTORY.set_column(3, "event_type", pa.array(["view"] * len(HISTORY)))
    result = run(models, tmp_path, views)
    assert result.exit_code == 1
    assert "there is no purchase before 2026-05-01" in result.output


def test_error_is_weighted_by_what_was_sold() -> None:
    assert wape(np.array([8.0, 0.0]), np.array([10.0, 10.0])) == pytest.approx(0.6)
    assert wape(np.ones(2), np.zeros(2)) is None
