import csv
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from reprise.bundle import Bundle, BundleNotFoundError, BundleStore
from reprise.datagen.main import command as datagen
from reprise.features.plan import Plan
from reprise.trainer.main import REFUSED, command
from support.plans import PLAN_FILE
from support.served_bundles import small_plan

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRISE_PROGRESS", "off")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``events.parquet`` and ``truth.parquet`` of a small shop."""
    folder = tmp_path_factory.mktemp("history")
    arguments = [
        *("--users", "100", "--products", "40"),
        *("--start", "2026-01-01", "--days", "120", "--horizon", "10d"),
    ]
    files = ["--out", str(folder / "events.parquet"), "--truth", str(folder / "truth.parquet")]
    result = CliRunner().invoke(datagen, [*arguments, *files])
    assert result.exit_code == 0, result.output
    return folder


def train(events: Path, out: Path, *options: str) -> Result:
    plan = events.with_name("plan.json")
    plan.write_bytes(small_plan().dumps())
    arguments = ["--events", str(events), "--out", str(out), "--plan", str(plan), *options]
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


class Trained(NamedTuple):
    bundle: Bundle
    output: str
    card: str
    evaluated: bytes


@pytest.fixture(scope="module")
def trained(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    out = tmp_path_factory.mktemp("models")
    truth = str(history / "truth.parquet")
    result = train(
        history / "events.parquet",
        out,
        *("--horizon", "10d,3d", "--truth", truth, "--cv-folds", "2", "--backtests", "1"),
    )
    assert result.exit_code == 0, result.output
    bundle, card = latest(out), Path(re.findall(r"model card  (.+)", result.output)[0])
    return Trained(bundle, result.output, card.read_text(), BundleStore(str(out)).evaluated_model(bundle))


@pytest.fixture(scope="module")
def alone(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The model of the default horizon alone, of the same events in another order, trained on one processor."""
    folder = tmp_path_factory.mktemp("alone")
    shuffled = pq.read_table(history / "events.parquet")
    order = np.random.default_rng(0).permutation(shuffled.num_rows)
    pq.write_table(shuffled.take(order), folder / "shuffled.parquet", row_group_size=999)
    truth = str(history / "truth.parquet")
    options = ("--horizon", "10d", "--truth", truth, "--cv-folds", "2", "--jobs", "1")
    result = train(folder / "shuffled.parquet", folder / "models", *options)
    assert result.exit_code == 0, result.output
    return latest(folder / "models")


def latest(out: Path) -> Bundle:
    store = BundleStore(str(out))
    return store.fetch(store.latest())


def test_bundle_answers_from_its_own_files_alone(trained: Trained) -> None:
    manifest = trained.bundle.manifest
    plan = Plan.from_dict(manifest.plan)
    assert (plan.hash, plan.schema_hash) == (manifest.plan_hash, manifest.schema_hash)
    assert manifest.input_names == plan.input_names
    assert manifest.horizon_seconds == 10 * 86_400
    session = onnxruntime.InferenceSession(trained.bundle.model, providers=["CPUExecutionProvider"])
    rows = np.full((3, len(manifest.inputs)), np.nan, dtype=np.float32)
    (answers,) = session.run([manifest.model.output], {manifest.model.input: rows})
    assert answers.shape == (3,)
    assert ((answers > 0) & (answers < 1)).all()


def test_report_has_baselines_oracle_and_repeat_candidates(trained: Trained) -> None:
    evaluation = trained.bundle.manifest.evaluation
    for report in (evaluation.overall, evaluation.repeat_candidates):
        assert report.oracle.roc_auc > report.model.roc_auc
    recency = evaluation.overall.baselines["recency"]
    assert evaluation.overall.model.roc_auc > recency.roc_auc > 0.5
    assert evaluation.overall.model.log_loss < evaluation.overall.baselines["prevalence"].log_loss


def test_summary_names_digest_and_card_and_the_card_stands_alone(trained: Trained) -> None:
    bundle, output, page, _ = trained
    assert bundle.digest in output
    assert bundle.digest in page
    assert page.count("data:image/svg+xml;base64,") == 9
    for title in ("purchases of the pair", "customers of the product", "Cold start", "shuffled together"):
        assert title in page
    assert page.index("Repeat candidates") < page.index("All held-out rows")
    assert not re.search(r'(src|href)="(?!data:)', page)
    for name in bundle.manifest.input_names:
        assert name in page
    for line in ("recency alone", "oracle", "prevalence", "Repeat candidates", "ONNX = scikit-learn"):
        assert line in output
    assert "Verdicts by kind, thresholds by f1" in output
    for kind in bundle.manifest.verdicts:
        assert kind in output
        assert f"<td>{kind}" in page
    for text in (output, page):
        assert "10 days before the last event" in text


def test_backtest_is_in_summary_card_and_metadata(trained: Trained) -> None:
    bundle = trained.bundle
    [found] = bundle.metadata["backtests"]
    start, end = (datetime.fromisoformat(found[name]) for name in ("start", "end"))
    assert end - start == timedelta(days=10)
    assert found["end"] == bundle.manifest.data.evaluation.end
    assert found["trained_rows"] < bundle.metadata["published"]["train"]["rows"]
    overall = found["evaluation"]["overall"]
    lower, upper = found["intervals"]["overall"]["roc_auc"]
    assert lower < overall["model"]["roc_auc"] < upper
    summary = re.findall(rf"  {found['start'][:10]} .*", trained.output)
    assert f"{overall['model']['roc_auc']:.4f}" in summary[0]
    errors = [each["model"]["calibration_error"] for each in found["evaluation"]["questions"].values()]
    assert [float(each) for each in summary[1].split()[1:]] == pytest.approx(errors, abs=5e-5)
    for value in (overall["model"]["roc_auc"], overall["oracle"]["roc_auc"], *errors):
        assert f"{value:.4f}" in trained.card


def test_metadata_says_when_and_how_long(trained: Trained) -> None:
    metadata = trained.bundle.metadata
    assert datetime.fromisoformat(str(metadata["trained_at"])).tzinfo is not None
    assert {"import", "rows", "choose", "grow", "calibrate", "refit"} <= set(metadata["duration_seconds"])
    assert metadata["events"]["rows_dropped"] == 0
    assert metadata["threshold_rule"] == "f1"
    assert metadata["executor"] == "duckdb"
    json.dumps(dict(metadata), allow_nan=False)


def test_published_model_is_grown_on_everything_labelled(trained: Trained) -> None:
    bundle = trained.bundle
    data, refit = bundle.manifest.data, bundle.manifest.refit
    # after a burn-in of one horizon
    assert refit.train.start[:10] == "2026-01-11"
    assert refit.train.end == refit.calibration.end == data.evaluation.end
    assert refit.calibration.start == data.calibration.start
    assert data.train.rows < refit.train.rows < data.labelled_rows
    assert refit.newest_row < data.evaluation.end
    published = bundle.metadata["published"]
    assert published["train"]["rows"] == refit.train.rows
    assert published["threshold"] == bundle.manifest.threshold
    assert bundle.metadata["evaluated"]["train"]["rows"] == data.train.rows
    assert trained.evaluated != bundle.model


@pytest.mark.soak
def test_same_data_and_seed_make_the_same_model_whatever_the_order_the_processors_and_further_horizons(
    trained: Trained, alone: Bundle
) -> None:
    bundle = trained.bundle
    assert bundle.manifest.model_copy(update={"horizons": ()}) == alone.manifest
    assert bundle.model == alone.model


def test_further_horizon_has_its_own_graph(trained: Trained) -> None:
    bundle = trained.bundle
    (further,) = bundle.manifest.horizons
    assert further.seconds == 3 * 86_400
    assert set(bundle.horizons) == {further.seconds}
    assert set(further.verdicts) == set(bundle.manifest.verdicts)
    overall, default = further.evaluation.overall, bundle.manifest.evaluation.overall
    assert overall.positives < default.positives
    assert further.train.positives < bundle.manifest.refit.train.positives
    assert 0.6 < further.intervals["overall"]["roc_auc"][0] < overall.model.roc_auc
    assert overall.model.brier < overall.baselines["prevalence"].brier
    assert "Other horizons" in trained.output
    assert "<h2>Other horizons</h2>" in trained.card
    assert "<td>3d</td>" in trained.card


def write_csv(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_csv_of_another_shop_trains_on_a_sample_of_its_rows_and_the_latest_is_not_set_if_told_so(
    tmp_path: Path,
) -> None:
    """Only purchases, whole dates, numbers for ids, no event ids, not in order."""
    random = np.random.default_rng(3)
    rows: list[tuple[object, ...]] = [("customer", "sku", "day", "price")]
    start = datetime(2025, 1, 1, tzinfo=UTC)
    for customer in range(70):
        for sku in random.choice(40, 4, replace=False):
            day, cycle = float(random.uniform(0, 40)), random.uniform(8, 60)
            while day < 300:
                date = (start + timedelta(days=day)).date().isoformat()
                rows.append((customer, 1000 + int(sku), date, round(float(random.uniform(1, 50)), 2)))
                day += max(1.0, float(random.normal(cycle, 3)))
    head, body = rows[0], rows[1:]
    random.shuffle(body)
    events = write_csv(tmp_path / "orders.csv", [head, *body])
    mapping = ["user_id=customer", "product_id=sku", "timestamp=day", "amount=price"]
    columns = [part for pair in mapping for part in ("--column", pair)]
    sampled = ("--cv-folds", "0", "--max-rows", "1500", "--no-set-latest")
    result = train(events, tmp_path / "models", "--horizon", "20d", *sampled, *columns)
    assert result.exit_code == 0, result.output
    with pytest.raises(BundleNotFoundError):
        latest(tmp_path / "models")
    (digest,) = re.findall(r"^bundle +(\S+)$", result.output, re.MULTILINE)
    manifest = BundleStore(str(tmp_path / "models")).fetch(digest).manifest
    assert manifest.data.sampled_rows == 1_500 < manifest.data.labelled_rows
    assert f"1,500 of {manifest.data.labelled_rows:,} rows used" in result.output
    evaluation = manifest.evaluation.overall
    assert evaluation.model.roc_auc > 0.6
    assert evaluation.oracle is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--horizon", "60d"], "too short for a horizon of 60d"),
        (["--event-type", "cart=purchase"], "only one class"),
        (["--event-type", "cart=purchase", "--event-type", "cart=view"], "of a type that makes features"),
    ],
)
def test_history_that_cannot_be_learnt_from_is_refused_with_a_remedy(
    history: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    result = train(history / "events.parquet", tmp_path / "models", "--horizon", "10d", *options)
    assert result.exit_code == REFUSED
    assert message in result.output
    assert "What would help" in result.output
    assert f"reprise inspect {history / 'events.parquet'}" in result.output
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--plan", "nowhere/plan.json"], "nowhere/plan.json"),
        (["--truth", "nowhere.csv"], "nowhere.csv: no such file"),
        (["--column", "user_id=customer"], "no column for user_id"),
    ],
)
def test_wrong_files_are_named(history: Path, tmp_path: Path, options: list[str], message: str) -> None:
    result = train(history / "events.parquet", tmp_path / "models", "--horizon", "10d", *options)
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "models").exists()


def test_unknown_store_is_refused_before_any_work(history: Path) -> None:
    arguments = ["--events", str(history / "events.parquet"), "--out", "gopher://x", "--plan", str(PLAN_FILE)]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 1
    assert "gopher" in result.output
