"""From a generated history to users' probabilities: train, score the users, and see what they then do."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from reprise.bundle import BundleStore
from reprise.cli.main import command

pytestmark = pytest.mark.soak

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRISE_PROGRESS", "off")


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(command, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history of 130 days, and a model that was trained on its first 120."""
    folder = tmp_path_factory.mktemp("shop")
    size = [
        "--users",
        "300",
        "--products",
        "40",
        "--start",
        "2026-01-01",
        "--days",
        "130",
        "--horizon",
        "10d",
    ]
    run("datagen", *size, "--out", folder / "events.parquet", "--truth", folder / "truth.parquet")
    events = pq.read_table(folder / "events.parquet").to_pandas()
    known = events[events["timestamp"] < "2026-05-01"]
    known.to_parquet(folder / "known.parquet")
    run(
        *("train", "--events", folder / "known.parquet", "--out", folder / "models"),
        *("--plan", ROOT / "feature_repo" / "plan" / "plan.json"),
        *("--horizon", "10d", "--cv-folds", "0", "--max-rows", "2500"),
    )
    return folder


def test_probabilities_of_users_are_what_then_happens(shop: Path) -> None:
    store = BundleStore(str(shop / "models"))
    bundle = store.fetch(store.latest())
    assert bundle.manifest.users is not None
    assert bundle.metadata["users"]["sha256"] == bundle.manifest.users.sha256
    card = Path(store.location(bundle.digest, "model_card.html")).read_text()
    assert "Whether a user buys anything" in card
    assert "recency × frequency tree" in card
    result = run(
        *("retention", "--events", shop / "events.parquet", "--model-store", shop / "models"),
        *("--at", "2026-05-01", "--out", shop / "scores"),
    )
    (path,) = (shop / "scores").rglob("_manifest.json")
    manifest = json.loads(path.read_bytes())
    rows = [row for name in manifest["files"] for row in pq.read_table(path.parent / name).to_pylist()]
    assert "the model has learnt from events" not in result.output
    events = pq.read_table(shop / "events.parquet").to_pandas()
    bought = events[events["event_type"] == "purchase"]
    later = bought[(bought["timestamp"] > "2026-05-01") & (bought["timestamp"] <= "2026-05-11")]
    outcome = np.array([row["user_id"] in set(later["user_id"]) for row in rows])
    probability = np.array([row["probability"] for row in rows])
    assert len(rows) == bought[bought["timestamp"] < "2026-05-01"]["user_id"].nunique() > 150
    # Four standard deviations of a sum of independent outcomes
    spread = 4 * np.sqrt((probability * (1 - probability)).sum())
    assert abs(outcome.sum() - probability.sum()) < spread
    assert probability[outcome].mean() > probability[~outcome].mean() + 0.2
    assert [backtest["in_sample"] for backtest in manifest["backtests"]][-1] is False
