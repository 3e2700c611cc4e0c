"""One run of ``reprise demand``: forecasts at the instant and, for the intervals, at earlier ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reprise.bundle.scorer import Scorer
from reprise.evaluation.classification_metrics import Floats
from reprise.events import parse_timestamp
from reprise.features.executors.plan_executor import PlanExecutor
from reprise.runtime.durations import EPOCH, format_duration, microseconds
from reprise.runtime.job_metrics import reported_job
from reprise.runtime.progress import progress
from reprise.runtime.storage import open_storage
from reprise.scoring.demand.forecast import Forecast, forecast, wape
from reprise.scoring.demand.intervals import fit_dispersion, interval
from reprise.scoring.demand.manifest import SCHEMA, BacktestErrors, DemandManifest, manifest_path
from reprise.scoring.demand.metrics import JOB, DemandMetrics
from reprise.scoring.demand.purchases import Purchases, Totals
from reprise.scoring.exceptions import ScoringError
from reprise.scoring.inputs import ScoringInputs
from reprise.scoring.output import read_manifest, write_table
from reprise.scoring.run import score_pairs

_SHOWN = 5
_TOTALS = ("repeat_buyers", "new_buyers", "units", "revenue")


@dataclass(frozen=True, slots=True)
class Backtest:
    """A forecast at an earlier instant, and what followed within the horizon."""

    at: datetime
    forecast: Forecast
    actual: Totals
    in_sample: bool  # Whether the model has learnt from the outcome
    covered: float | None = None  # Share of products inside the interval of the backtests before it

    @property
    def errors(self) -> BacktestErrors:
        """Errors of the forecast and of the baselines."""
        sold, found = self.actual.units, self.forecast
        forecasts = {
            "wape": found.units,
            "seasonal_naive": found.seasonal_naive,
            "moving_average": found.moving_average,
        }
        errors = {name: wape(units, sold) for name, units in forecasts.items()}
        return BacktestErrors(at=self.at, in_sample=self.in_sample, covered=self.covered, **errors)


@dataclass(frozen=True, slots=True)
class DemandReport:
    """The manifest of a forecast, the location of its file, and its table unless the file was there."""

    manifest: DemandManifest
    location: str
    table: pa.Table | None = None

    def __str__(self) -> str:
        found = self.manifest
        horizon = format_duration(timedelta(seconds=found.horizon_seconds))
        title = f"{found.products:,} products, {horizon} from {found.at.isoformat()} by {found.model}"
        if self.table is None:
            return f"nothing to do: {self.location} has the demand of {title}"
        lines = [f"{self.location}: {title}"]
        head = ("units", "80 % interval", "repeat buyers", "new buyers", "revenue")
        lines += ["", f"{'product':<16}" + "".join(f"{name:>16}" for name in head)]
        for row in self.table.sort_by([("units", "descending")]).slice(0, _SHOWN).to_pylist():
            bounds = "–" if row["units_low"] is None else f"{row['units_low']:,.0f}–{row['units_high']:,.0f}"
            numbers = (f"{row[name]:>16,.1f}" for name in ("repeat_buyers", "new_buyers", "revenue"))
            lines.append(f"{row['product_id']:<16}{row['units']:>16,.1f}{bounds:>16}" + "".join(numbers))
        errors = ("WAPE", "seasonal-naive", "moving average", "in interval")
        lines += ["", f"{'backtest':<10}" + "".join(f"{name:>16}" for name in errors)]
        lines += [str(each) for each in found.backtests] or ["none: the history is too short, so no interval"]
        return "\n".join(lines)


def forecast_demand(inputs: ScoringInputs, backtests: int) -> DemandReport:
    """Forecast each product's demand within the horizon from the instant, and write it to a file.

    Raises:
        RepriseError: The events, the model or the output is unavailable or unusable, or the history is too short.
    """
    settings, at = inputs.settings, inputs.at
    with reported_job(inputs.job_name(JOB), settings) as job:
        bundle = inputs.bundle
        storage = open_storage(settings.out)
        path = manifest_path(at, bundle.digest, inputs.further_horizon)
        complete = read_manifest(storage, path, DemandManifest)
        if complete is not None:
            found = (complete.at, complete.model, complete.format, complete.wanted_backtests)
            if found == (at, bundle.digest, settings.format, backtests):
                DemandMetrics(job.registry).show(complete)
                return DemandReport(complete, storage.location(complete.file))
            storage.remove(path)
            storage.remove(complete.file)
        products, final, past = _forecasts(inputs, backtests)
        table = _table(products, final, past)
        manifest = DemandManifest(
            at=at,
            model=bundle.digest,
            format=settings.format,
            horizon_seconds=inputs.horizon_seconds,
            wanted_backtests=backtests,
            file=f"{path.removesuffix('.json')}.{settings.format}",
            products=len(table),
            **{each: float(getattr(final, each).sum()) for each in _TOTALS},
            backtests=[each.errors for each in past],
        )
        write_table(storage, manifest.file, table)
        storage.write(path, manifest.model_dump_json(indent=2).encode())
        DemandMetrics(job.registry).show(manifest)
    return DemandReport(manifest, storage.location(manifest.file), table)


def _forecasts(inputs: ScoringInputs, backtests: int) -> tuple[pa.Array, Forecast, Sequence[Backtest]]:
    """Return the products, their forecast, and the backtests, the earliest first."""
    bundle, history, at = inputs.bundle, inputs.history, inputs.at
    horizon, evaluated = timedelta(seconds=inputs.horizon_seconds), inputs.evaluated_scorer()
    horizon_us, held_out_us = microseconds(horizon), parse_timestamp(bundle.manifest.data.evaluation.start)
    with (
        Purchases(history, inputs.plan.purchase_type, inputs.at_us, inputs.memory_limit) as purchases,
        inputs.executor() as executor,
    ):
        if not len(purchases.products):
            raise ScoringError(f"there is no purchase before {at.isoformat()}")
        earlier = (at - back * horizon for back in range(backtests, 0, -1))
        instants = [each for each in earlier if microseconds(each - EPOCH) - horizon_us >= purchases.start_us]
        found: list[Backtest] = []
        with progress("Forecasting", len(instants) + 1, "instants") as bar:
            for instant in instants:
                start_us = microseconds(instant - EPOCH)
                expected = _forecast(executor, evaluated, purchases, inputs, instant)
                actual = purchases.within(start_us, start_us + horizon_us)
                covered = _coverage(expected, actual, found)
                found.append(Backtest(instant, expected, actual, start_us < held_out_us, covered))
                bar.advance()
            final = _forecast(executor, inputs.scorer(), purchases, inputs, at)
            bar.advance()
        return purchases.products, final, found


def _forecast(
    executor: PlanExecutor, scorer: Scorer, purchases: Purchases, inputs: ScoringInputs, at: datetime
) -> Forecast:
    """Return the forecast from the scores of all pairs at an instant."""
    at_us, size = microseconds(at - EPOCH), len(purchases.products)
    executor.load_events(inputs.history, before_us=at_us)
    mean_amount, buyers, spend = purchases.mean_amount(at_us), np.zeros(size), np.zeros(size)
    for part in range(len(executor.load_pairs(inputs.settings.chunk))):
        for batch in score_pairs(executor, scorer, part, at):
            product = pc.index_in(batch.column("product_id"), value_set=purchases.products).to_numpy()
            amount = batch.column("mean_amount").to_numpy(zero_copy_only=False)
            amount = np.where(np.isnan(amount), mean_amount[product], amount)
            probability = batch.column("probability").to_numpy().astype(np.float64)
            buyers += np.bincount(product, probability, size)
            spend += np.bincount(product, probability * amount, size)
    horizon_us = inputs.horizon_seconds * 1_000_000
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
    for name in _TOTALS:
        columns[name] = pa.array(getattr(found, name))
        for end, values in zip(("low", "high"), bounds.get(name, ()), strict=False):
            columns[f"{name}_{end}"] = pa.array(values, from_pandas=True)
    return pa.table(columns, schema=SCHEMA)
