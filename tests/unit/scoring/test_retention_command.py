"""``reprise retention`` scores users by what was known at the instant, and checks earlier scores by what followed."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from reprise.bundle import BundleStore
from reprise.events.event import ERASED_PREFIX
from reprise.scoring.main import nightly_command
from reprise.scoring.main import retention_command as retention
from support.pushgateway import gateway
from support.served_bundles import bundle_files, logistic_graph, small_plan

AT = datetime(2026, 5, 1, tzinfo=UTC)
PLAN = small_plan()
NAMES = tuple(each.name for each in PLAN.user.inputs)
SLOPE = -0.05
EVALUATED_SLOPE = -0.1


def history() -> pa.Table:
    """Users who buy every 1 to 40 days from 150 days before the instant until 30 days after it."""
    rng, rows = np.random.default_rng(1), []
    for user in range(200):
        day = -150 + rng.uniform(0, 40)
        while day < 30:
            rows.append((f"u{user:03}", day, rng.uniform(1, 9)))
            day += 1 + rng.exponential(user % 40)
    rows += [("later", 1.0, 5.0), (f"{ERASED_PREFIX}1", -3.0, 5.0)]
    users, days, amounts = zip(*rows, strict=True)
    return pa.table(
        {
            "event_id": [f"e{at}" for at in range(len(rows))],
            "user_id": list(users),
            "product_id": ["p"] * len(rows),
            "event_type": ["purchase"] * len(rows),
            "amount": list(amounts),
            "timestamp": pa.array([AT + timedelta(days=day) for day in days], pa.timestamp("us", "UTC")),
        }
    ).sort_by("timestamp")


HISTORY = history()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history, and a users' model of the days since the last purchase that was evaluated from March on."""
    folder = tmp_path_factory.mktemp("shop")
    pq.write_table(HISTORY, folder / "events.parquet")
    published, evaluated = (
        logistic_graph({"days_since_last_purchase": slope}, 1.0, NAMES) for slope in (SLOPE, EVALUATED_SLOPE)
    )
    store = BundleStore(str(folder / "models"))
    files = bundle_files(users=(published, evaluated), evaluation_start="2026-03-15T00:00:00Z")
    store.set_latest(store.publish(files))
    return folder


def run(shop: Path, out: Path, *more: str, command: click.Command = retention, **environment: str) -> Result:
    words = (
        "--events",
        str(shop / "events.parquet"),
        "--model-store",
        str(shop / "models"),
        "--out",
        str(out),
    )
    runner = CliRunner(env={"REPRISE_PROGRESS": "off", **environment})
    return runner.invoke(command, (*words, "--at", AT.isoformat(), *more), catch_exceptions=False)


def written(out: Path) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    (found,) = (out / "retention").rglob("_manifest.json")
    manifest = json.loads(found.read_bytes())
    read = pq.read_table if manifest["format"] == "parquet" else pacsv.read_csv
    return (
        found.parent,
        manifest,
        [row for n in manifest["files"] for row in read(found.parent / n).to_pylist()],
    )


def purchases_before(instant: datetime) -> dict[str, list[tuple[datetime, float]]]:
    found: dict[str, list[tuple[datetime, float]]] = {}
    for row in HISTORY.to_pylist():
        if row["timestamp"] < instant and not row["user_id"].startswith(ERASED_PREFIX):
            found.setdefault(row["user_id"], []).append((row["timestamp"], row["amount"]))
    return found


def probability(last: datetime, at: datetime, slope: float = SLOPE) -> float:
    return 1 / (1 + np.exp(-1.0 - slope * ((at - last) / timedelta(days=1))))


@pytest.fixture(scope="module")
def scored(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("scores")
    return out, run(shop, out, "--chunk", "60")


def test_a_night_has_the_scores_of_users_and_pushes_their_numbers(shop: Path, tmp_path: Path) -> None:
    with gateway() as (url, pushed):
        result = run(shop, tmp_path, command=nightly_command, PUSHGATEWAY_URL=url)
    assert result.exit_code == 0, result.output
    _, manifest, rows = written(tmp_path)
    (body,) = [body for _, path, body in pushed if path.endswith("reprise-retention")]
    at_risk = sum(row["drop"] is not None and row["drop"] >= 0.2 for row in rows)
    assert f"reprise_retention_users {len(rows)}.0" in body
    assert f"reprise_retention_users_at_risk {at_risk}.0" in body
    assert f"reprise_retention_backtest_roc_auc {manifest['backtests'][-1]['roc_auc']}" in body
    assert f"{len(rows):,} users, 01 May 2026" in (tmp_path / "report.html").read_text()


def test_every_user_is_scored_by_what_was_known_at_the_instant(scored: tuple[Path, Result]) -> None:
    out, result = scored
    assert result.exit_code == 0, result.output
    folder, manifest, rows = written(out)
    assert folder.parent.name == "date=2026-05-01"
    own, month = purchases_before(AT), timedelta(days=30)
    assert [row["user_id"] for row in rows] == sorted(own)
    assert manifest["users"] == len(rows)
    assert len(manifest["files"]) == 4
    known_before = 0
    for row in rows:
        bought = own[row["user_id"]]
        assert row["probability"] == pytest.approx(probability(bought[-1][0], AT), abs=1e-6)
        earlier = [when for when, _ in bought if when < AT - month]
        if earlier:
            known_before += 1
            before = probability(earlier[-1], AT - month)
            assert row["probability_before"] == pytest.approx(before, abs=1e-6)
            assert row["drop"] == pytest.approx(before - row["probability"], abs=1e-6)
        else:
            assert row["probability_before"] is row["drop"] is None
        days = np.unique([when.toordinal() for when, _ in bought])
        assert row["usual_gap_days"] == (np.median(np.diff(days)) if len(days) > 1 else None)
        assert row["days_since_last"] == pytest.approx((AT - bought[-1][0]) / timedelta(days=1))
        assert row["purchases"] == len(bought)
        horizons = {(AT - when) // month for when, _ in bought}
        assert row["value"] == pytest.approx(sum(amount for _, amount in bought) / len(horizons))
        assert row["last_purchase"] == bought[-1][0]
    assert 100 < known_before <= len(rows)


def test_bands_and_backtests_are_those_of_the_files_and_of_what_users_did(
    scored: tuple[Path, Result],
) -> None:
    out, result = scored
    _, manifest, rows = written(out)
    probabilities = np.array([row["probability"] for row in rows])
    for band in manifest["bands"]:
        mine = (probabilities >= band["low"]) & (probabilities < band["high"])
        assert band["users"] == mine.sum()
        assert band["expected_buyers"] == pytest.approx(probabilities[mine].sum(), rel=1e-4)
        drops = [row["drop"] for row, is_mine in zip(rows, mine, strict=True) if is_mine]
        assert band["at_risk"] == sum(drop is not None and drop >= 0.2 for drop in drops)
    assert sum(band["at_risk"] for band in manifest["bands"]) > 5
    assert len(manifest["backtests"]) == 3
    for backtest in manifest["backtests"]:
        at = datetime.fromisoformat(backtest["at"])
        before, after = purchases_before(at), purchases_before(at + timedelta(days=30))
        assert backtest["users"] == len(before)
        assert backtest["buyers"] == sum(after[user][-1][0] > at for user in before)
        expected = sum(probability(bought[-1][0], at, EVALUATED_SLOPE) for bought in before.values())
        assert backtest["expected_buyers"] == pytest.approx(expected, rel=1e-4)
        assert backtest["roc_auc"] == pytest.approx(backtest["recency_roc_auc"], abs=0.01)
    *_, first, second, third = result.output.splitlines()
    assert first.startswith("2026-01-31")
    assert "learnt" in first
    assert "learnt" in second
    assert third.startswith("2026-04-01")
    assert "learnt" not in third


def test_a_complete_run_is_not_repeated_and_an_interrupted_one_keeps_its_files(
    shop: Path, scored: tuple[Path, Result], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(scored[0], tmp_path / "scores"))
    folder, manifest, rows = written(out)
    again = run(shop, out)
    assert again.output.startswith("nothing to do")
    assert again.stdout.splitlines()[1:] == scored[1].stdout.splitlines()[1:]
    missing, kept = folder / manifest["files"][0], folder / manifest["files"][1]
    before = kept.stat().st_mtime_ns
    missing.unlink()
    (folder / "_manifest.json").unlink()
    assert run(shop, out, "--chunk", "60").exit_code == 0
    assert kept.stat().st_mtime_ns == before
    assert written(out)[1:] == (manifest, rows)


def test_csv_of_another_chunk_replaces_the_files(
    shop: Path, scored: tuple[Path, Result], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(scored[0], tmp_path / "scores"))
    assert run(shop, out, "--format", "csv", "--backtests", "0").exit_code == 0
    folder, manifest, rows = written(out)
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "_manifest.json"}
    assert len(rows) == manifest["users"] == written(scored[0])[1]["users"]
    assert manifest["backtests"] == []


def test_a_bundle_without_a_users_model_is_refused(shop: Path, tmp_path: Path) -> None:
    other = BundleStore(str(shop / "models")).publish(bundle_files(bias=1.0))
    result = run(shop, tmp_path, "--model", other)
    assert result.exit_code == 1
    assert "has no model of users" in result.output
    assert list(tmp_path.iterdir()) == []
