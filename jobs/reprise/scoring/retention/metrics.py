"""Prometheus metrics of the users' scores."""

from math import nan

from prometheus_client import CollectorRegistry, Gauge

from reprise.scoring.retention.output import RetentionManifest

JOB = "reprise-retention"


class RetentionMetrics:
    """Metrics of the last scores of users, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, documentation: str) -> Gauge:
            return Gauge(f"reprise_retention_{name}", documentation, registry=registry)

        self._users = gauge("users", "Users in the last scores.")
        self._at_risk = gauge(
            "users_at_risk", "Users whose probability fell by 0.2 or more within one horizon."
        )
        self._auc = gauge("backtest_roc_auc", "ROC AUC of the latest backtest; NaN without one.")

    def show(self, manifest: RetentionManifest) -> None:
        """Set the metrics of a run."""
        self._users.set(manifest.users)
        self._at_risk.set(sum(band.at_risk for band in manifest.bands))
        auc = manifest.backtests[-1].roc_auc if manifest.backtests else None
        self._auc.set(nan if auc is None else auc)
