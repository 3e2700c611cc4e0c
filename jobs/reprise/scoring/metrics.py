"""Prometheus metrics of the scores."""

from prometheus_client import CollectorRegistry, Gauge

from reprise.scoring.output import PairScoresManifest

JOB = "reprise-scoring"


class ScoringMetrics:
    """Metrics of the last scores, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._pairs = Gauge("reprise_scoring_pairs", "Pairs in the last scores.", registry=registry)
        self._at = Gauge(
            "reprise_scoring_instant_timestamp_seconds", "Instant of the last scores.", registry=registry
        )

    def show(self, manifest: PairScoresManifest) -> None:
        """Set the metrics of a run."""
        self._pairs.set(manifest.pairs)
        self._at.set(manifest.at.timestamp())
