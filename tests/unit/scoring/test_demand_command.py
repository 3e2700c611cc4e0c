"""``reprise demand`` adds up the scores of what was known at the instant, and judges itself at earlier ones."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from reprise.bundle import BundleStore
from reprise.scoring.demand.forecast import wape
from reprise.scoring.demand.main import command
from support.served_bundles import bundle_files

AT = datetime(2026, 5, 1, tzinfo=UTC)
MONTH = timedelta(days=30)
RNG = np.random.default_rng(2)


def purchases(count: int = 3_000) -> pa.Table:
    """Purchases from 150 days before the instant until 30 days after it; product-3 is new, product-0 has no amount."""
    days = np.sort(RNG.uniform(-150, 30, count))
    products = RNG.choice(4, count, p=[0.4, 0.3, 0.2, 0.1])
    kept = (products < 3) | (days > -20)
    days, products = days[kept], products[kept]
    return pa.table(
        {
            "event_id": [f"e{at}" for at in range(len(days))],
            "user_id": [f"u{user}" for user in RNG.integers(0, 400, len(days))],
            "product_id": [f"product-{product}" for product in products],
            "event_type": ["purchase"] * len(days),
            "amount": pa.array(RNG.uniform(1, 9, len(days)), mask=products == 0),
            "timestamp": pa.array([AT + timedelta(days=day) for day in days], pa.timestamp("us", "UTC")),
        }
    )


HISTORY = purchases()
PAST = HISTORY.filter(pc.less(HISTORY["timestamp"], pa.scalar(AT)))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of the number of the pair's purchases, evaluated on the time from March on."""
    store = BundleStore(str(tmp_path_factory.mktemp("models")))
    files = bundle_files(weights={"pair_purchases": 0.5}, bias=-2.0, evaluation_start="2026-03-15T00:00:00Z")
    store.set_latest(store.publish(files))
    return store.url


def run(models: str, folder: Path, history: pa.Table, *arguments: str) -> Result:
    pq.write_table(history, folder / "events.parquet")
    words = ("--events", str(folder / "events.parquet"), "--model-store", models, "--out", str(folder))
    words = (*words, "--at", AT.isoformat(), *arguments)
    return CliRunner(env={"REPRISE_PROGRESS": "off"}).invoke(command, words, catch_exceptions=False)


def written(folder: Path) -> list[dict[str, float]]:
    (path,) = folder.glob("demand-2026-05-01-*")
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


def test_later_events_change_nothing(models: str, tmp_path: Path) -> None:
    found = []
    for name, history in (("all", HISTORY), ("past", PAST)):
        folder = tmp_path / name
        folder.mkdir()
        assert run(models, folder, history, "--backtests", "1", "--format", "csv").exit_code == 0
        found.append(written(folder))
    for row, other in zip(*found, strict=True):
        assert row == pytest.approx(other)


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


def test_error_is_weighted_by_what_was_sold() -> None:
    assert wape(np.array([8.0, 0.0]), np.array([10.0, 10.0])) == pytest.approx(0.6)
    assert np.isnan(wape(np.ones(2), np.zeros(2)))
