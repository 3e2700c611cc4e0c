"""Prometheus metrics of the forecast of the demand."""

from math import nan

from prometheus_client import CollectorRegistry, Gauge

from reprise.scoring.demand.manifest import DemandManifest

JOB = "reprise-demand"


class DemandMetrics:
    """Metrics of the last forecast of the demand, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, documentation: str, *labels: str) -> Gauge:
            return Gauge(f"reprise_demand_{name}", documentation, labels, registry=registry)

        self._products = gauge("products", "Products in the last forecast.")
        self._units = gauge("units", "Expected units of all products within the horizon.")
        self._errors = gauge(
            "backtest_wape",
            "Weighted absolute percentage error of the latest backtest, by method: forecast, seasonal_naive,"
            " moving_average. Absent without a backtest.",
            "method",
        )
        self._covered = gauge(
            "backtest_coverage",
            "Share of products whose units were in the 80 % interval in the latest backtest; NaN without an earlier"
            " one.",
        )

    def show(self, manifest: DemandManifest) -> None:
        """Set the metrics of a run."""
        self._products.set(manifest.products)
        self._units.set(manifest.units)
        latest = manifest.backtests[-1] if manifest.backtests else None
        self._covered.set(nan if latest is None or latest.covered is None else latest.covered)
        if latest is not None:
            errors = {
                "forecast": latest.wape,
                "seasonal_naive": latest.seasonal_naive,
                "moving_average": latest.moving_average,
            }
            for method, error in errors.items():
                if error is not None:
                    self._errors.labels(method).set(error)
