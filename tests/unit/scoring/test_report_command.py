"""``reprise report`` shows what an output has on one page that loads nothing and fits a phone."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from pydantic import BaseModel

from reprise.runtime.storage import open_storage
from reprise.scoring.audience.output import CampaignBand, CampaignManifest
from reprise.scoring.demand.manifest import DemandManifest
from reprise.scoring.main import nightly_command as nightly
from reprise.scoring.main import report_command as report
from reprise.scoring.output import short_digest
from reprise.scoring.report.nightly_results import read_results
from reprise.scoring.retention.output import Band, RetentionManifest
from support.demand_shop import AT, arguments, publish_model, purchases
from support.status_page import MISSING, chromium_path, opened, running_chromium

MODELS = [f"sha256:{digit * 64}" for digit in "0f"]
RETENTION = RetentionManifest(
    **{"at": AT, "model": "sha256:0", "format": "csv", "horizon_seconds": 1, "chunk": 1, "events": 9},
    **{"last_event": AT, "files": [], "users": 1_234, "purchase_type": "purchase", "wanted_backtests": 0},
    **{"backtests": [], "model_knows_until": ""},
    bands=[
        Band(low=0.0, high=0.2, users=700, expected_buyers=31.4, at_risk=56, expected_spend=1.0),
        Band(low=0.2, high=1.0, users=534, expected_buyers=300.0, at_risk=7, expected_spend=9.0),
    ],
)
CAMPAIGN = CampaignManifest(
    **{"campaign": "spring <b>", "at": AT, "model": "sha256:0", "horizon_seconds": 1, "by": "value"},
    **{"purchase_type": "purchase", "margin": 1.0, "edges": [], "at_risk": False, "holdout": 0.1, "salt": ""},
    **{"suppressed": 0, "suppressed_sha256": None, "files": []},
    bands=[
        CampaignBand(name="low", written=90, held_out=9, expected_buyers=1.0, expected_value=1.0),
        CampaignBand(name="high", written=1_000, held_out=110, expected_buyers=1.0, expected_value=1.0),
    ],
)


def write_manifests(out: Path, model: str) -> None:
    """Write what retention with a model and campaigns leave beside the demand."""
    older = {"campaign": "older", "at": AT - timedelta(days=30), "bands": []}
    manifests: dict[str, BaseModel] = {
        f"retention/date=2026-05-01/model={short_digest(model)}": RETENTION,
        "campaigns/spring": CAMPAIGN,
        "campaigns/older": CAMPAIGN.model_copy(update=older),
    }
    for name, manifest in manifests.items():
        (out / name).mkdir(parents=True)
        (out / name / "_manifest.json").write_text(manifest.model_dump_json())


def run(folder: Path) -> Result:
    return CliRunner().invoke(report, ["--out", str(folder)], catch_exceptions=False)


def run_nightly(models: str, folder: Path, history: pa.Table, *more: str) -> Result:
    words = (*arguments(models, folder, history), *more)
    return CliRunner(env={"REPRISE_PROGRESS": "off"}).invoke(nightly, words)


@pytest.fixture(scope="module", params=["parquet", "csv"])
def out(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a nightly run, without retention."""
    folder, models = tmp_path_factory.mktemp("out"), publish_model(tmp_path_factory.mktemp("models"))
    done = run_nightly(models, folder, purchases(), "--backtests", "2", "--format", request.param)
    assert done.exit_code == 0, done.output
    return folder


def demand(out: Path) -> DemandManifest:
    (path,) = out.glob("demand-2026-05-01-*.json")
    return DemandManifest.model_validate_json(path.read_bytes())


def copy_demand(out: Path, folder: Path, *changes: dict[str, Any]) -> DemandManifest:
    """Copy the demand of a nightly run with a manifest for each change; return its own manifest."""
    manifest = demand(out)
    (folder / manifest.file).write_bytes((out / manifest.file).read_bytes())
    for change in changes:
        each = manifest.model_copy(update=change)
        name = f"demand-{each.at:%Y-%m-%d}-{short_digest(each.model)}.json"
        (folder / name).write_text(each.model_dump_json())
    return manifest


def days_back(count: int) -> list[datetime]:
    return [AT - timedelta(days=back) for back in range(count)]


def text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.partition("</style>")[2]))


def test_page_has_the_demand_of_the_latest_forecast_and_says_what_is_missing(out: Path) -> None:
    assert run(out).output.strip() == str(out / "report.html")
    page = (out / "report.html").read_text()
    found, manifest = text(page), demand(out)
    assert f"{manifest.units:,.0f} units" in found
    assert f"{manifest.backtests[-1].wape:.1%} error a horizon ago" in found
    assert "01 Apr 2026" in found
    assert "02 Mar 2026 *" in found
    assert page.count("<img") == 1
    assert "Users at risk: reprise retention has not written to this output" in found
    assert "Audiences: reprise audience has not written to this output" in found
    assert "reprise score has not" not in found
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", page)


def test_products_to_reorder_come_by_revenue_and_those_without_amounts_by_units(out: Path) -> None:
    page = (out / "report.html").read_text()
    table = page.partition('id="reorder"')[2].partition("</table>")[0]
    shown = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td>", table)
    if (path := next(out.glob("demand-*.parquet"), None)) is not None:
        rows = sorted(pq.read_table(path).to_pylist(), key=lambda row: (-row["revenue"], -row["units"]))
        assert shown == [(row["product_id"], f"{row['units_high']:,.0f}") for row in rows]
    assert [product for product, _ in shown][-1] == "product-0"


def test_product_ids_of_digits_are_shown_as_they_are_in_a_csv(tmp_path: Path) -> None:
    history = purchases()
    digits = pc.replace_substring(history["product_id"], "product-", "00")
    history = history.set_column(2, "product_id", digits)
    assert (
        run_nightly(publish_model(tmp_path / "models"), tmp_path, history, "--format", "csv").exit_code == 0
    )
    assert run(tmp_path).exit_code == 0
    table = (tmp_path / "report.html").read_text().partition('id="reorder"')[2].partition("</table>")[0]
    assert set(re.findall(r"<tr><td>(.*?)</td>", table)) == {"000", "001", "002", "003"}


def test_errors_are_drawn_over_dates_and_users_at_risk_and_audiences_shown_where_they_are(
    out: Path, tmp_path: Path
) -> None:
    manifest = copy_demand(out, tmp_path, *({"at": at} for at in days_back(3)))
    write_manifests(tmp_path, manifest.model)
    assert run(tmp_path).exit_code == 0
    page = (tmp_path / "report.html").read_text()
    assert "Errors of 3 forecasts" in page
    assert page.count("<img") == 2
    assert "0.0–0.2 700 31 56" in text(page)
    assert "1,234 users" in page
    assert "reprise score has not written to this output" in text(page)
    assert "spring &lt;b&gt; 01 May 2026 1,090 119 older 01 Apr 2026 0 0" in text(page)


def test_forecasts_without_a_backtest_have_no_plot_of_errors(out: Path, tmp_path: Path) -> None:
    copy_demand(out, tmp_path, *({"at": at, "backtests": []} for at in days_back(2)))
    assert run(tmp_path).exit_code == 0
    assert (tmp_path / "report.html").read_text().count("<img") == 1


def test_page_without_a_forecast_of_the_demand_says_that_it_is_missing(tmp_path: Path) -> None:
    write_manifests(tmp_path, RETENTION.model)
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    page = text((tmp_path / "report.html").read_text())
    assert "Demand by product: reprise demand has not written to this output" in page
    assert "0.0–0.2 700 31 56" in page
    assert "Reorder first" not in page


def test_page_is_of_one_model_where_several_ran_on_a_date(out: Path, tmp_path: Path) -> None:
    copy_demand(out, tmp_path, *({"model": model} for model in MODELS))
    for users, model in enumerate(MODELS):
        folder = tmp_path / f"retention/date=2026-05-01/model={short_digest(model)}"
        folder.mkdir(parents=True)
        found = RETENTION.model_copy(update={"model": model, "users": 1_000 + users})
        (folder / "_manifest.json").write_text(found.model_dump_json())
    for users, model in enumerate(MODELS):
        done = CliRunner(env={"SCORING_MODEL": model}).invoke(report, ["--out", str(tmp_path)])
        assert done.exit_code == 0, done.output
        page = (tmp_path / "report.html").read_text()
        assert f"<code>{model[7:19]}</code>" in page
        assert f"1,00{users} users" in page


def test_the_last_dates_count_however_many_models_ran_on_each(out: Path, tmp_path: Path) -> None:
    copy_demand(out, tmp_path, *({"at": at, "model": model} for at in days_back(100) for model in MODELS))
    results = read_results(open_storage(str(tmp_path)))
    assert [each.at for each in results.forecasts] == days_back(90)[::-1]


def test_an_output_without_results_is_refused(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "run reprise nightly first" in result.output


@pytest.mark.slow
@pytest.mark.skipif(chromium_path() is None, reason=MISSING)
def test_page_fits_a_phone_and_loads_nothing(out: Path, tmp_path: Path) -> None:
    manifest = copy_demand(out, tmp_path, *({"at": at} for at in days_back(2)))
    write_manifests(tmp_path, manifest.model)
    assert run(tmp_path).exit_code == 0
    with running_chromium() as browser, opened(browser, phone=True) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "report.html").as_uri())
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
        assert page.evaluate("innerWidth") == 390
        beyond = page.evaluate(
            "[...document.querySelectorAll('main *')]"
            ".filter(each => each.getBoundingClientRect().right > 390.5).map(each => each.outerHTML.slice(0, 200))"
        )
        assert beyond == []
        assert page.evaluate("[...document.images].every(each => each.complete && each.naturalWidth > 0)")
        assert page.locator("section").count() == 5
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
