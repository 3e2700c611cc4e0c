"""The report: a page of the latest results."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from matplotlib.ticker import MaxNLocator

from reprise.reports.figures import AMBER, GREY, INDIGO, PALE_INDIGO, date_axis, figure
from reprise.reports.html import html_environment
from reprise.runtime.durations import format_duration
from reprise.runtime.job_metrics import reported_job
from reprise.runtime.storage import open_storage
from reprise.scoring.demand.manifest import BacktestErrors, DemandManifest
from reprise.scoring.exceptions import ScoringError
from reprise.scoring.output import RunManifest
from reprise.scoring.report.nightly_results import NightlyResults, read_results
from reprise.scoring.settings import ScoringSettings

JOB = "reprise-report"
PAGE = "report.html"
_PRODUCTS = 15
_REORDERED = 10
_CAMPAIGNS = 10


def write_report(settings: ScoringSettings, model: str | None = None) -> str:
    """Write the page beside the results, and return its location.

    ``model`` is as for ``read_results``, by default that of the settings.

    Raises:
        ScoringError: There are no results, or a manifest cannot be read.
        StorageError: The output is unavailable.
    """
    with reported_job(JOB, settings):
        storage = open_storage(settings.out)
        chosen = None if settings.model == "latest" else settings.model
        results = read_results(storage, model or chosen)
        if (basis := results.latest or results.scores or results.retention) is None:
            raise ScoringError(f"{storage.location('')} has no results: run reprise nightly first")
        storage.write(PAGE, render_page(results, basis).encode())
        return storage.location(PAGE)


def render_page(results: NightlyResults, basis: DemandManifest | RunManifest) -> str:
    """Return the page; its instant, horizon and model are those of ``basis``."""
    horizon = timedelta(seconds=basis.horizon_seconds)
    largest, reorder = (
        [] if results.demand is None else _first(results.demand, *order)
        for order in ((_PRODUCTS, "units", "product_id"), (_REORDERED, "revenue", "units", "product_id"))
    )
    tests = [(each.at, each.backtests[-1]) for each in results.forecasts if each.backtests]
    known = [(at, test) for at, test in tests if test.wape is not None]
    environment = html_environment(
        "reprise.scoring.report",
        rounded=lambda value: "–" if value is None else f"{value:,.0f}",
        day=lambda at: f"{at:%d %b %Y}",
    )
    return environment.get_template("report.html.j2").render(
        basis=basis,
        latest=results.latest,
        until=basis.at + horizon,
        horizon=format_duration(horizon),
        scores=results.scores,
        retention=results.retention,
        campaigns=results.campaigns[:_CAMPAIGNS],
        reorder=reorder,
        demand_plot=_demand_plot(largest) if largest else None,
        shown=len(largest),
        error_plot=_error_plot(known) if len(known) > 1 else None,
        forecasts=len(known),
        missing=[
            (what, command)
            for what, command, found in (
                ("Demand by product", "reprise demand", results.latest),
                ("Scores of all pairs", "reprise score", results.scores),
                ("Users at risk", "reprise retention", results.retention),
                ("Audiences", "reprise audience", results.campaigns or None),
            )
            if found is None
        ],
    )


def _first(table: pa.Table, count: int, *names: str) -> list[dict[str, Any]]:
    """Return the rows with the largest values."""
    rows: list[dict[str, Any]] = table.sort_by([(name, "descending") for name in names])[:count].to_pylist()
    return rows


def _demand_plot(rows: list[dict[str, Any]]) -> str:
    """Return bars of the expected units, the largest at the top, with their intervals."""
    with figure(size=(4.0, 0.6 + 0.3 * len(rows))) as (axes, image):
        places = range(len(rows), 0, -1)
        axes.barh(places, [row["units"] for row in rows], 0.7, color=PALE_INDIGO)
        for place, row in zip(places, rows, strict=True):
            if row["units_low"] is not None:
                axes.plot([row["units_low"], row["units_high"]], [place, place], "|-", color=INDIGO, ms=7)
        products = [row["product_id"] for row in rows]
        axes.set_yticks(list(places), [f"{each[:15]}…" if len(each) > 16 else each for each in products])
        axes.set(xlabel="units", xlim=(0, None))
        axes.grid(axis="y", visible=False)
    return image.data_uri


def _error_plot(tests: Sequence[tuple[datetime, BacktestErrors]]) -> str:
    """Return the error of each forecast's latest backtest, and of the baselines."""
    with figure(size=(4.0, 2.8)) as (axes, image):
        for name, label, colour in (
            ("seasonal_naive", "seasonal-naive", GREY),
            ("moving_average", "moving average", AMBER),
            ("wape", "forecast", INDIGO),
        ):
            errors = [getattr(test, name) for _, test in tests]
            axes.plot([at for at, _ in tests], errors, "o-", ms=3, color=colour, label=label)
        axes.margins(y=0.15)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(lambda error, _: f"{error:.0%}")
        axes.set(ylabel="WAPE", ylim=(0, None))
        axes.legend(loc="lower left", fontsize=8.5)
        date_axis(axes, minticks=2, maxticks=5)
    return image.data_uri
