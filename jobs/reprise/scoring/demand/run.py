"""One run of ``reprise demand``: forecasts at the instant and, for the intervals, at earlier ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from reprise.bundle.scorer import Scorer
from reprise.evaluation.classification_metrics import Floats
from reprise.event_files.options import ImportOptions
from reprise.events import parse_timestamp
from reprise.features.executors.batch import BatchExecutor
from reprise.features.plan import Plan
from reprise.runtime.durations import EPOCH, format_duration, microseconds
from reprise.runtime.job_metrics import reported_job
from reprise.runtime.progress import progress
from reprise.runtime.storage import open_storage
from reprise.scoring.demand.forecast import Forecast, forecast, wape
from reprise.scoring.demand.intervals import fit_dispersion, interval
from reprise.scoring.demand.purchases import Purchases, Totals
from reprise.scoring.run import open_bundle, read_history, score_pairs
from reprise.scoring.settings import ScoringSettings

JOB = "reprise-demand"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Backtest:
    """A forecast at an earlier instant, and what followed within the horizon."""

    at: datetime
    forecast: Forecast
    actual: Totals
    in_sample: bool  # Whether the model has learnt from the outcome
    covered: float | None = (
        None  # Share of products whose units are in the interval by the backtests before it
    )

    def __str__(self) -> str:
        errors = (
            wape(each, self.actual.units)
            for each in (self.forecast.units, self.forecast.seasonal_naive, self.forecast.moving_average)
        )
        covered = "–" if self.covered is None else f"{self.covered:.0%}"
        texts = "".join(f"{error:>16.1%}" for error in errors)
        note = "  the model has learnt from it" if self.in_sample else ""
        return f"{self.at:%Y-%m-%d}{texts}{covered:>16}{note}"


@dataclass(frozen=True, slots=True)
class DemandReport:
    """The table of all products, where it is, and the backtests, the earliest first."""

    table: pa.Table
    location: str
    title: str
    backtests: Sequence[Backtest]

    def __str__(self) -> str:
        lines = [f"{self.location}: {self.title}"]
        head = ("units", "80 % interval", "repeat buyers", "new buyers", "revenue")
        lines += ["", f"{'product':<16}" + "".join(f"{name:>16}" for name in head)]
        for row in self.table.sort_by([("units", "descending")]).slice(0, _SHOWN).to_pylist():
            bounds = "–" if row["units_low"] is None else f"{row['units_low']:,.0f}–{row['units_high']:,.0f}"
            numbers = (f"{row[name]:>16,.1f}" for name in ("repeat_buyers", "new_buyers", "revenue"))
            lines.append(f"{row['product_id']:<16}{row['units']:>16,.1f}{bounds:>16}" + "".join(numbers))
        errors = ("WAPE", "seasonal-naive", "moving average", "in interval")
        lines += ["", f"{'backtest':<10}" + "".join(f"{name:>16}" for name in errors)]
        lines += [str(each) for each in self.backtests] or ["none: the history is too short, so no interval"]
        return "\n".join(lines)


def forecast_demand(
    settings: ScoringSettings,
    events: Path | None,
    offline: str | None,
    at: datetime,
    backtests: int,
    import_options: ImportOptions,
    memory_limit: str,
) -> DemandReport:
    """Forecast each product's demand within the model's horizon from an instant, and write it to a file.

    Raises:
        RepriseError: The events, the model or the output is unavailable or unusable, or the history is too short.
    """
    at = at.astimezone(UTC)
    models, bundle = open_bundle(settings)
    manifest = bundle.manifest
    horizon = timedelta(seconds=manifest.horizon_seconds)
    plan, horizon_us = Plan.from_dict(manifest.plan), microseconds(horizon)
    evaluated = Scorer(
        models.evaluated_model(bundle), manifest.model.input, manifest.model.output, manifest.input_names
    )
    held_out_us = parse_timestamp(manifest.data.evaluation.start)
    with reported_job(JOB, settings), TemporaryDirectory(prefix="reprise-demand-") as name:
        history = read_history(Path(name), events, offline, import_options, memory_limit)
        with (
            Purchases(history, plan.purchase_type, microseconds(at - EPOCH), memory_limit) as purchases,
            BatchExecutor(plan, memory_limit=memory_limit, temp_directory=Path(name)) as executor,
        ):
            earlier = (at - back * horizon for back in range(backtests, 0, -1))
            instants = [
                each for each in earlier if microseconds(each - EPOCH) - horizon_us >= purchases.start_us
            ]
            found: list[Backtest] = []
            with progress("Forecasting", len(instants) + 1, "instants") as bar:
                for instant in instants:
                    start_us = microseconds(instant - EPOCH)
                    expected = _forecast(
                        executor, evaluated, purchases, history, instant, horizon_us, settings
                    )
                    actual = purchases.within(start_us, start_us + horizon_us)
                    covered = _coverage(expected, actual, found)
                    found.append(Backtest(instant, expected, actual, start_us < held_out_us, covered))
                    bar.advance()
                final = _forecast(executor, Scorer.of(bundle), purchases, history, at, horizon_us, settings)
                bar.advance()
    table = _table(purchases.products, final, found)
    path = f"demand-{at:%Y-%m-%d}-{bundle.digest.removeprefix('sha256:')[:12]}.{settings.format}"
    storage = open_storage(settings.out)
    sink = pa.BufferOutputStream()
    (pq.write_table if settings.format == "parquet" else pacsv.write_csv)(table, sink)
    storage.write(path, sink.getvalue().to_pybytes())
    title = f"{len(table):,} products, {format_duration(horizon)} from {at.isoformat()} by {bundle.digest}"
    return DemandReport(table, storage.location(path), title, found)


def _forecast(
    executor: BatchExecutor,
    scorer: Scorer,
    purchases: Purchases,
    history: Path,
    at: datetime,
    horizon_us: int,
    settings: ScoringSettings,
) -> Forecast:
    """Return the forecast from the scores of all pairs at an instant."""
    at_us, size = microseconds(at - EPOCH), len(purchases.products)
    executor.load_events(history, before_us=at_us)
    mean_amount, buyers, spend = purchases.mean_amount(at_us), np.zeros(size), np.zeros(size)
    for part in range(len(executor.load_pairs(settings.chunk))):
        for batch in score_pairs(executor, scorer, part, at):
            product = pc.index_in(batch.column("product_id"), value_set=purchases.products).to_numpy()
            amount = batch.column("mean_amount").to_numpy(zero_copy_only=False)
            amount = np.where(np.isnan(amount), mean_amount[product], amount)
            probability = batch.column("probability").to_numpy().astype(np.float64)
            buyers += np.bincount(product, probability, size)
            spend += np.bincount(product, probability * amount, size)
    return forecast(purchases, at_us, horizon_us, buyers, spend)


def _interval(expected: Forecast, quantity: str, backtests: Sequence[Backtest]) -> tuple[Floats, Floats]:
    """Return the interval of a quantity by the errors of backtests."""
    means = np.concatenate([getattr(each.forecast, quantity) for each in backtests])
    counts = np.concatenate([getattr(each.actual, quantity) for each in backtests])
    return interval(getattr(expected, quantity), fit_dispersion(means, counts))


def _coverage(expected: Forecast, actual: Totals, backtests: Sequence[Backtest]) -> float | None:
    if not backtests:
        return None
    low, high = _interval(expected, "units", backtests)
    judged = expected.units > 0
    return float(np.mean(((actual.units >= low) & (actual.units <= high))[judged]))


def _table(products: pa.Array, found: Forecast, backtests: Sequence[Backtest]) -> pa.Table:
    """Return the forecast with intervals, which are null without backtests."""
    names = ("repeat_buyers", "units", "revenue")
    bounds = {name: (np.full(len(products), np.nan),) * 2 for name in names}
    if backtests:
        bounds |= {name: _interval(found, name, backtests) for name in names[:2]}
        price = np.divide(found.revenue, found.units, out=np.zeros_like(found.units), where=found.units > 0)
        bounds["revenue"] = (bounds["units"][0] * price, bounds["units"][1] * price)
    columns = {"product_id": products}
    for name in ("repeat_buyers", "new_buyers", "units", "revenue"):
        columns[name] = pa.array(getattr(found, name))
        for end, values in zip(("low", "high"), bounds.get(name, ()), strict=False):
            columns[f"{name}_{end}"] = pa.array(values, from_pandas=True)
    return pa.table(columns)
