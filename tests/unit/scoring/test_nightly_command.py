"""``reprise nightly`` writes all results, repeats none, and keeps the scores of the last days."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from reprise.bundle import BundleStore
from reprise.event_files.importer import import_events
from reprise.runtime.storage import Storage, open_storage
from reprise.scoring.audience.output import CampaignManifest
from reprise.scoring.exceptions import ScoringError
from reprise.scoring.expiry import remove_campaigns
from reprise.scoring.inputs import ScoringInputs
from reprise.scoring.main import nightly_command as command
from reprise.scoring.nightly.run import run_nightly
from reprise.scoring.settings import ScoringSettings
from support.archived import Boundaries, CrashError, CrashingStorage
from support.demand_shop import AT, arguments, publish_model, purchases
from support.pushgateway import gateway
from support.served_bundles import bundle_files, logistic_graph, small_plan


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> str:
    return publish_model(tmp_path_factory.mktemp("models"))


def run(models: str, folder: Path, *more: str, **environment: str) -> Result:
    words = (*arguments(models, folder, purchases()), "--backtests", "2", *more)
    runner = CliRunner(env={"REPRISE_PROGRESS": "off", **environment})
    return runner.invoke(command, words, catch_exceptions=False)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files of events that have been read."""
    found: list[Path] = []

    def counting(events: Path, *arguments: Any, **options: Any) -> object:
        found.append(events)
        return import_events(events, *arguments, **options)

    monkeypatch.setattr("reprise.scoring.inputs.import_events", counting)
    return found


def test_all_results_are_written_from_one_reading_of_the_events_and_none_is_repeated(
    models: str, tmp_path: Path, read: list[Path]
) -> None:
    first = run(models, tmp_path)
    assert first.exit_code == 0, first.output
    (scores,) = tmp_path.glob("date=2026-05-01/model=*/_manifest.json")
    (demand,) = tmp_path.glob("demand-2026-05-01-*.json")
    assert json.loads(scores.read_bytes())["model"] == json.loads(demand.read_bytes())["model"]
    assert "retention is left out: sha256:" in first.output
    assert "What to expect" in (tmp_path / "report.html").read_text()
    before = {path: path.stat().st_mtime_ns for path in (scores, demand)}
    again = run(models, tmp_path)
    assert again.exit_code == 0, again.output
    assert again.output.count("nothing to do") == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert read == [tmp_path / "events.parquet"]


def test_dropped_rows_and_assumptions_are_reported_once(models: str, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user_id,product_id,timestamp\nu,p,2026-01-01\n,p,2026-01-01\n")
    done = run(models, tmp_path, "--events", str(tmp_path / "events.csv"), "--on-bad-rows", "drop")
    assert done.stderr.count("1 rows dropped because they are invalid") == 1
    assert done.stderr.count("1 timestamps without a zone are taken as UTC") == 1


def test_an_answer_that_fails_does_not_keep_the_others_from_being_written(
    models: str, tmp_path: Path
) -> None:
    (tmp_path / "date=2026-05-01").write_text("a file where the scores' directory would be")
    result = run(models, tmp_path)
    assert result.exit_code == 1
    assert "score failed" in result.output
    assert list(tmp_path.glob("demand-2026-05-01-*.json"))


@pytest.mark.parametrize(
    "error", [duckdb.OutOfMemoryException("out of memory"), OSError(28, "No space left")]
)
def test_an_error_of_a_library_ends_neither_the_night_nor_the_removal_of_old_scores(
    models: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("reprise.scoring.nightly.run.score", fail)
    old = tmp_path / "date=2026-01-01" / "model=0123456789ab" / "_manifest.json"
    old.parent.mkdir(parents=True)
    old.write_text("")
    result = run(models, tmp_path)
    assert result.exit_code == 1
    assert f"score failed: {error}" in result.output
    assert list(tmp_path.glob("demand-2026-05-01-*.json"))
    assert not old.exists()


def test_all_results_are_of_the_latest_model_when_the_run_begins(tmp_path: Path) -> None:
    models = publish_model(tmp_path / "models")
    store = BundleStore(models)
    first = store.latest()
    other = store.publish(bundle_files(weights={"pair_purchases": 0.1}, bias=-1.0))
    pq.write_table(purchases(), tmp_path / "events.parquet")
    settings = ScoringSettings(model_store=models, out=str(tmp_path / "out"))
    with ScoringInputs(settings, tmp_path / "events.parquet", None, AT) as inputs:
        for _ in run_nightly(inputs, 0):
            store.set_latest(other)  # Another model is published meanwhile
    found = [*tmp_path.glob("out/date=*/model=*/_manifest.json"), *tmp_path.glob("out/demand-*.json")]
    assert [json.loads(path.read_bytes())["model"] for path in found] == [first, first]
    assert f"<code>{first[7:19]}</code>" in (tmp_path / "out" / "report.html").read_text()


def write_campaign(storage: Storage, age: int) -> None:
    manifest = CampaignManifest(
        campaign=f"aged-{age}", at=AT - timedelta(days=age), model="sha256:1", horizon_seconds=1,
        purchase_type="purchase", by="probability", margin=1, edges=[], at_risk=False, holdout=0.1, salt="",
        suppressed=0, suppressed_sha256=None, bands=[], files=["holdout.csv"],
    )  # fmt: skip
    storage.write(f"{manifest.path}/_manifest.json", manifest.model_dump_json().encode())
    storage.write(f"{manifest.path}/holdout.csv", b"user_id")


@pytest.mark.parametrize(("days", "kept"), [("10", {10, 0}), ("0", {40, 11, 10, 0})])
def test_scores_of_dates_before_the_days_to_keep_are_removed(
    models: str, tmp_path: Path, days: str, kept: set[int]
) -> None:
    foreign = ("notes.txt", "demand-2026-01-01-0123456789ab.parquet", "lake/date=2026-01-01/part-0.parquet")
    others = [tmp_path / name for name in (*foreign, "date=2026-01-01/model=0123456789ab/mine.parquet")]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    for age in (40, 11, 10):
        folder = tmp_path / f"date={AT - timedelta(days=age):%Y-%m-%d}" / "model=0123456789ab"
        folder.mkdir(parents=True)
        for name in ("_manifest.json", "part-00000-of-00001-0a1b2c3d.parquet"):
            (folder / name).write_text("")
    write_campaign(open_storage(str(tmp_path)), 40)
    result = run(models, tmp_path, "--keep-days", days, "--keep-campaign-days", days)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "campaigns/aged-40/_manifest.json").exists() is (days == "0")
    found = {path.parent.parent.name for path in tmp_path.glob("date=*/*/_manifest.json")}
    assert found == {f"date={AT - timedelta(days=age):%Y-%m-%d}" for age in kept}
    assert {path.parent.parent.name for path in tmp_path.glob("date=*/*/part-*")} == found
    assert all(path.exists() for path in others)


def test_campaigns_of_dates_before_the_days_to_keep_are_removed(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    for age in (40, 11, 10):
        write_campaign(storage, age)
    storage.write("campaigns/mine.txt", b"")
    storage.write("campaigns/unfinished/holdout.csv", b"user_id")
    kept = ["campaigns/mine.txt", "campaigns/unfinished/holdout.csv"]
    assert remove_campaigns(storage, (AT - timedelta(days=10)).date()) == 4
    found = storage.files("campaigns")
    assert found == sorted([*kept, "campaigns/aged-10/_manifest.json", "campaigns/aged-10/holdout.csv"])
    assert remove_campaigns(storage, (AT - timedelta(days=10)).date()) == 0


def test_each_answer_pushes_what_it_has_also_if_it_was_there(models: str, tmp_path: Path) -> None:
    found: list[dict[str, dict[str, float]]] = []
    for _ in range(2):
        with gateway() as (url, pushed):
            assert run(models, tmp_path, PUSHGATEWAY_URL=url).exit_code == 0
        found.append({path.rpartition("/")[2]: samples(body) for _, path, body in pushed})
    (scores,) = tmp_path.rglob("_manifest.json")
    (demand,) = tmp_path.glob("demand-*.json")
    manifest, backtest = json.loads(demand.read_bytes()), json.loads(demand.read_bytes())["backtests"][-1]
    for metrics in found:
        own, units = metrics["reprise-scoring"], metrics["reprise-demand"]
        assert own["reprise_scoring_pairs"] == json.loads(scores.read_bytes())["pairs"]
        assert own["reprise_scoring_instant_timestamp_seconds"] == AT.timestamp()
        assert units["reprise_demand_units"] == pytest.approx(manifest["units"])
        assert units["reprise_demand_products"] == manifest["products"]
        assert units["reprise_demand_backtest_coverage"] == pytest.approx(backtest["covered"])
        for method, name in (("forecast", "wape"), ("seasonal_naive", "seasonal_naive")):
            error = units[f'reprise_demand_backtest_wape{{method="{method}"}}']
            assert error == pytest.approx(backtest[name])
        assert own["reprise_job_failed"] == units["reprise_job_failed"] == 0


def test_a_failed_run_pushes_no_result(models: str, tmp_path: Path) -> None:
    with gateway() as (url, pushed):
        assert run(models, tmp_path, "--at", "2000-01-01", PUSHGATEWAY_URL=url).exit_code == 1
    jobs = {path.rpartition("/")[2]: samples(body) for _, path, body in pushed}
    assert jobs.keys() == {"reprise-scoring", "reprise-demand", "reprise-report"}
    for metrics in jobs.values():
        assert metrics["reprise_job_failed"] == 1
        assert all(name.startswith("reprise_job_") for name in metrics)


def samples(body: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in body.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_a_removal_of_a_campaign_that_fails_is_finished_by_the_next_and_an_unreadable_one_stops_no_other(
    tmp_path: Path,
) -> None:
    storage, before = open_storage(str(tmp_path)), (AT - timedelta(days=10)).date()
    write_campaign(storage, 40)
    storage.write("campaigns/aged-40/write-0-up.csv", b"user_id")
    storage.write("campaigns/a-broken/_manifest.json", b"{}")
    with pytest.raises(CrashError):  # Between the first removal and the second
        remove_campaigns(CrashingStorage(storage, Boundaries(dies_at=2)), before)
    with pytest.raises(ScoringError, match="a-broken"):
        remove_campaigns(storage, before)
    assert storage.files("campaigns") == ["campaigns/a-broken/_manifest.json"]


def test_a_night_is_of_the_models_own_horizon(
    models: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCORING_HORIZON", "7d")
    result = run(models, tmp_path)
    assert result.exit_code == 1
    assert "leave out SCORING_HORIZON" in result.output


def test_further_horizons_are_scored_and_forecast_from_the_same_events_and_beside_the_report(
    tmp_path: Path, read: list[Path]
) -> None:
    week = logistic_graph({}, -3.0, small_plan().input_names)
    models = publish_model(tmp_path / "models", horizons={604_800: week})
    result = run(models, tmp_path, SCORING_HORIZONS="7d,14d")
    assert result.exit_code == 1
    assert "score of 14d failed" in result.output
    assert "demand of 14d failed" in result.output
    assert result.output.count("for 7d, 30d") == 2
    assert read == [tmp_path / "events.parquet"]
    own, further = (
        json.loads(next(tmp_path.glob(f"{folder}date=2026-05-01/model=*/_manifest.json")).read_bytes())
        for folder in ("", "horizon=604800/")
    )
    assert (own["horizon_seconds"], further["horizon_seconds"]) == (30 * 86_400, 7 * 86_400)
    assert own["pairs"] == further["pairs"]
    assert len(list(tmp_path.glob("demand-2026-05-01-*-604800.json"))) == 1
    assert "until 31 May 2026" in (tmp_path / "report.html").read_text()
    again = run(models, tmp_path, "--horizons", "7d")
    assert again.exit_code == 0, again.output
    assert again.output.count("nothing to do") == 4
