"""``reprise score`` gives each bought pair the probability that the predictor would answer at the instant."""

import csv
import json
import shutil
import sys
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from reprise.bundle import BundleStore
from reprise.bundle.scorer import Scorer
from reprise.events import Event
from reprise.events.event import ERASED_PREFIX
from reprise.features.executors.fold import Fold, InMemoryStates
from reprise.features.vectorizer import FeatureVectorizer
from reprise.runtime.durations import EPOCH, microseconds
from reprise.scoring.main import score_command as command
from reprise.scoring.output import SCHEMA
from support.hard_histories import random_history
from support.histories import event_table
from support.plans import checked_in_plan
from support.served_bundles import bundle_files, logistic_graph

PLAN = checked_in_plan()
EVENTS = [
    *random_history(3, 3_000, users=40, products=15),
    Event("erased", f"{ERASED_PREFIX}1", "product-1", "purchase", 1_000_000_000_000_000, 1.0),
]
AT_US = sorted(event.timestamp_us for event in EVENTS)[2_500]  # Events of the very instant are not before it
AT = EPOCH + timedelta(microseconds=AT_US)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a history, and a model that depends on every input."""
    folder = tmp_path_factory.mktemp("shop")
    pq.write_table(event_table(EVENTS), folder / "events.parquet")
    store = BundleStore(str(folder / "models"))
    inputs = np.nan_to_num(list(predictor_inputs().values()))
    weights = np.random.default_rng(0).normal(size=inputs.shape[1]) / np.maximum(inputs.std(axis=0), 1e-9)
    files = bundle_files(
        PLAN,
        weights=dict(zip(PLAN.input_names, weights / 4, strict=True)),
        bias=float(-inputs.mean(axis=0) @ weights / 4),
    )
    store.set_latest(store.publish(files))
    return folder


def run(shop: Path, out: Path, *arguments: str, at: datetime = AT) -> Result:
    words = (
        "--events",
        str(shop / "events.parquet"),
        "--model-store",
        str(shop / "models"),
        "--out",
        str(out),
    )
    runner = CliRunner(env={"REPRISE_PROGRESS": "off"})
    return runner.invoke(command, (*words, "--at", at.isoformat(), *arguments), catch_exceptions=False)


def written(out: Path) -> tuple[Path, dict[str, Any]]:
    (found,) = out.rglob("_manifest.json")
    return found.parent, json.loads(found.read_bytes())


@cache
def predictor_inputs() -> dict[tuple[str, str], list[float]]:
    """What the predictor computes for idle requests from the states of the stream."""
    vectorizer, fold, states = FeatureVectorizer(PLAN), Fold(PLAN), InMemoryStates(PLAN)
    past = sorted((e for e in EVENTS if e.timestamp_us < AT_US), key=lambda e: e.timestamp_us)
    for event in past:
        states.fold(fold, event)
    bought = {(e.user_id, e.product_id) for e in past if e.event_type == "purchase"}
    pairs = [pair for pair in bought if not pair[0].startswith(ERASED_PREFIX)]
    return {pair: vectorizer.vector(*states.of(*pair), AT_US) for pair in pairs}


@pytest.fixture(scope="module")
def scored(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("scores")
    return out, run(shop, out, "--chunk", "50")


def test_scores_are_the_predictors_answers_for_every_pair_bought_before_the_instant(
    shop: Path, scored: tuple[Path, Result]
) -> None:
    out, result = scored
    assert result.exit_code == 0, result.output
    folder, manifest = written(out)
    assert folder.parent.name == f"date={AT:%Y-%m-%d}"
    rows = [row for name in manifest["files"] for row in pq.read_table(folder / name).to_pylist()]
    found = {(row["user_id"], row["product_id"]): row["probability"] for row in rows}
    store = BundleStore(str(shop / "models"))
    scorer = Scorer.of(store.fetch(store.latest()))
    expected = {pair: scorer.score_row(inputs) for pair, inputs in predictor_inputs().items()}
    assert found.keys() == expected.keys()
    assert len(rows) == manifest["pairs"] == len(expected) > 300
    assert len(manifest["files"]) > 4
    assert {pair for pair in expected if abs(found[pair] - expected[pair]) > 1e-6} == set()
    assert np.std(list(expected.values())) > 0.1
    row = rows[0]
    own = [
        e
        for e in EVENTS
        if (e.user_id, e.product_id, e.event_type) == (row["user_id"], row["product_id"], "purchase")
        and e.timestamp_us < AT_US
    ]
    amounts = [e.amount for e in own if e.amount is not None]
    assert row["purchases"] == len(own)
    assert row["mean_amount"] == pytest.approx(np.mean(amounts) if amounts else None)
    assert microseconds(row["last_purchase"] - EPOCH) == max(e.timestamp_us for e in own)
    # The manifest of the model says that it has learnt from events until 2026
    assert "look better than they are" in result.output


def test_a_further_horizon_has_scores_of_its_own_graph_in_a_folder_of_its_own(
    shop: Path, tmp_path: Path
) -> None:
    week = logistic_graph({"total_spend": 0.001}, -1.0, PLAN.input_names)
    store = BundleStore(str(tmp_path / "models"))
    digest = store.publish(bundle_files(PLAN, horizons={604_800: week}))
    store.set_latest(digest)
    (tmp_path / "events.parquet").symlink_to(shop / "events.parquet")
    out = tmp_path / "scores"
    assert run(tmp_path, out, "--horizon", "7d").exit_code == 0
    folder, manifest = written(out)
    assert folder.relative_to(out).parts[0] == "horizon=604800"
    assert manifest["horizon_seconds"] == 604_800
    scorer = Scorer(week, "inputs", "probability", PLAN.input_names)
    inputs = predictor_inputs()
    for row in (row for name in manifest["files"] for row in pq.read_table(folder / name).to_pylist()):
        expected = min(0.5, scorer.score_row(inputs[row["user_id"], row["product_id"]]))
        assert row["probability"] == pytest.approx(expected, abs=1e-6)
    assert run(tmp_path, out, "--horizon", "7d").output.startswith("nothing to do")
    assert not run(tmp_path, out, "--horizon", "30d").output.startswith("nothing to do")
    assert run(tmp_path, out).output.startswith("nothing to do")
    assert len(list(out.rglob("_manifest.json"))) == 2
    refused = run(tmp_path, out, "--horizon", "14d")
    assert refused.exit_code == 1
    assert "for 7d, 30d" in refused.output


def test_a_complete_run_is_not_repeated_and_an_interrupted_one_continues(
    shop: Path, scored: tuple[Path, Result], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(scored[0], tmp_path / "scores"))
    folder, manifest = written(out)
    assert run(shop, out).output.startswith("nothing to do")
    missing, kept = manifest["files"][0], folder / manifest["files"][1]
    before, content = kept.stat().st_mtime_ns, pq.read_table(folder / missing)
    (folder / missing).unlink()
    (folder / "_manifest.json").unlink()
    continued = run(shop, out, "--chunk", "50")
    assert f"{len(manifest['files']) - 1} of {len(manifest['files'])} files were there" in continued.output
    assert f"scored {len(content):,} pairs" in continued.output
    assert kept.stat().st_mtime_ns == before
    assert written(out)[1] == manifest
    again = pq.read_table(folder / missing)
    assert again.select(["user_id", "product_id"]).equals(content.select(["user_id", "product_id"]))
    np.testing.assert_allclose(again["probability"], content["probability"], atol=1e-6)


def test_another_run_of_the_date_and_model_replaces_the_scores(
    shop: Path, scored: tuple[Path, Result], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(scored[0], tmp_path / "scores"))
    at = AT.replace(hour=0, minute=0)
    assert run(shop, out, "--format", "csv", at=at).exit_code == 0
    folder, manifest = written(out)
    (name,) = manifest["files"]
    assert datetime.fromisoformat(manifest["at"]) == at
    assert {path.name for path in folder.iterdir()} == {name, "_manifest.json"}
    with (folder / name).open() as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == manifest["pairs"]
    assert {field.name for field in SCHEMA} == rows[0].keys()


@pytest.mark.parametrize(("maximum", "status"), [(len(EVENTS), 0), (len(EVENTS) - 1, 1)])
def test_spark_computes_the_states_of_more_events_than_the_maximum(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maximum: int, status: int
) -> None:
    installed = ModuleType("pyspark")
    installed.__spec__ = ModuleSpec("pyspark", None)
    monkeypatch.setitem(sys.modules, "pyspark", installed)
    options = ("--spark-master", "spark://spark:7077", "--spark-files", str(tmp_path / "missing"))
    result = run(shop, tmp_path, *options, "--duckdb-max-events", str(maximum))
    assert result.exit_code == status
    assert ("Spark's files have no folder" in result.output) == bool(status)


@pytest.mark.parametrize(
    ("arguments", "at", "message"),
    [
        (("--model", "sha256:" + "0" * 64), AT, "has no bundle sha256:00"),
        ((), datetime(1999, 1, 1, tzinfo=UTC), "no event before 1999-01-01T00:00:00Z"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(
    shop: Path, tmp_path: Path, arguments: tuple[str, ...], at: datetime, message: str
) -> None:
    result = run(shop, tmp_path, *arguments, at=at)
    assert result.exit_code == 1
    assert message in result.output
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_manifest_is_an_error(shop: Path, scored: tuple[Path, Result], tmp_path: Path) -> None:
    folder = tmp_path / written(scored[0])[0].relative_to(scored[0])
    folder.mkdir(parents=True)
    (folder / "_manifest.json").write_text("{}")
    result = run(shop, tmp_path)
    assert result.exit_code == 1
    assert "_manifest.json is no manifest of scores" in result.output
