"""From a generated history to what a campaign changed: train, score the users, choose an audience, measure the lift."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
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


def retention(shop: Path) -> tuple[Result, list[dict[str, Any]], dict[str, Any]]:
    result = run(
        *("retention", "--events", shop / "events.parquet", "--model-store", shop / "models"),
        *("--at", "2026-05-01", "--out", shop / "scores"),
    )
    (manifest,) = (shop / "scores").rglob("_manifest.json")
    found = json.loads(manifest.read_bytes())
    rows = [row for name in found["files"] for row in pq.read_table(manifest.parent / name).to_pylist()]
    return result, rows, found


def test_probabilities_of_users_are_what_then_happens(shop: Path) -> None:
    store = BundleStore(str(shop / "models"))
    bundle = store.fetch(store.latest())
    assert bundle.manifest.users is not None
    assert bundle.metadata["users"]["sha256"] == bundle.manifest.users.sha256
    card = Path(store.location(bundle.digest, "model_card.html")).read_text()
    assert "Whether a user buys anything" in card
    assert "recency × frequency tree" in card
    result, rows, manifest = retention(shop)
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


def test_a_campaign_that_makes_users_buy_has_a_lift_and_one_that_does_not_has_none(shop: Path) -> None:
    retention(shop)
    lifts = {}
    for campaign in ("nothing", "offer"):
        run(
            "audience", "--campaign", campaign, "--holdout", "30%", "--bands", "0.5", "--out", shop / "scores"
        )
        folder, events = (
            shop / "scores" / "campaigns" / campaign,
            pq.read_table(shop / "events.parquet").to_pandas(),
        )
        written = pd.concat(
            pd.read_csv(path, dtype={"user_id": str})
            for path in folder.glob("write-*.csv")
            if path.stat().st_size
        )
        assert written["reason"].str.match(r"(usually buys every|bought)").all()
        if campaign == "offer":  # Every second user who would not have bought buys
            later = events["timestamp"].between("2026-05-01", "2026-05-11", inclusive="right")
            bought = set(events[later & (events["event_type"] == "purchase")]["user_id"])
            won = [user for user in written["user_id"] if user not in bought][::2]
            extra = events.iloc[: len(won)].assign(
                event_id=[f"won-{user}" for user in won], user_id=won, event_type="purchase", amount=10.0,
                timestamp=pd.Timestamp("2026-05-05", tz="UTC"),
            )  # fmt: skip
            events = pd.concat([events, extra])
        events.to_parquet(shop / f"{campaign}.parquet")
        arguments = ("--events", shop / f"{campaign}.parquet", "--at", "2026-05-11", "--out", shop / "scores")
        lifts[campaign] = run("audience", "lift", "--campaign", campaign, *arguments).output
        report = json.loads((folder / "lift.json").read_bytes())
        assert report["is_over"]
        whole = report["bands"][0]
        assert whole["written"] == len(written)
        assert whole["written"] + whole["held_out"] == sum(
            band["written"] + band["held_out"] for band in report["bands"][1:]
        )
    assert "no effect is shown" in lifts["nothing"]
    assert "won buyers" in lifts["offer"]
