"""The operator's metrics."""

from collections.abc import Collection, Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from reprise.rollout.resource.status import CandidatePhase, CandidateStatus, HistoryEntry, RolloutStatus
from reprise.routing import BUCKETS, RoutingDocument

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class RolloutMetrics:
    """The operator's metrics, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._shown: set[str] = set()
        self._gauges: list[Gauge] = []
        ProcessCollector(registry=registry)
        self.reconciliations = Counter(
            "reprise_rollout_reconciliations",
            "Reconciliations of a rollout: changed, unchanged, conflict (another client wrote the resource), failed.",
            ("outcome",),
            registry=registry,
        )
        self.seconds = Histogram(
            "reprise_rollout_reconciliation_seconds",
            "Duration of a reconciliation.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._decisions = Counter(
            "reprise_rollout_decisions",
            "Promotions, rollbacks and changes of the baseline, by cause.",
            ("rollout", "candidate", "event", "by"),
            registry=registry,
        )
        self._weight = self._gauge("arm_weight", "Share of an arm, 0 to 1.", "arm", "digest")
        self._phase = self._gauge("candidate_phase", "1 for the phase of a candidate.", "candidate", "phase")
        self._measured = self._gauge(
            "analysis_value", "Value of a metric in the latest analysis.", "candidate", "metric"
        )
        self._failures = self._gauge(
            "analysis_failures", "Consecutive failed analyses of a metric.", "candidate", "metric"
        )
        self._generation = self._gauge("routing_generation", "Generation of the published document.")
        self._unacknowledged = self._gauge(
            "predictors_unacknowledged", "Ready predictors that have not applied the published document."
        )

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        gauge = Gauge(f"reprise_rollout_{name}", meaning, ("rollout", *labels), registry=self.registry)
        self._gauges.append(gauge)
        return gauge

    def show(self, rollout: str, status: RolloutStatus, document: RoutingDocument | None) -> None:
        """Update the gauges of a rollout."""
        self._forget(rollout)
        self._shown.add(rollout)
        for arm in document.arms if document is not None else ():
            self._weight.labels(rollout, arm.name, arm.digest).set(arm.weight / BUCKETS)
        for candidate in status.candidates:
            self._show_candidate(rollout, candidate)
        if status.routing is not None:
            self._generation.labels(rollout).set(status.routing.generation)
        self._unacknowledged.labels(rollout).set(status.pods.total - status.pods.acknowledged)

    def retain(self, rollouts: Collection[str]) -> None:
        """Remove the gauges of all other rollouts; counters stay."""
        for gone in self._shown.difference(rollouts):
            self._forget(gone)
        self._shown.intersection_update(rollouts)

    def _forget(self, rollout: str) -> None:
        for gauge in self._gauges:
            gauge.remove_by_labels({"rollout": rollout})

    def count(self, rollout: str, entries: Sequence[HistoryEntry]) -> None:
        """Count decisions."""
        for entry in entries:
            self._decisions.labels(rollout, entry.candidate, entry.event, entry.by).inc()

    def _show_candidate(self, rollout: str, candidate: CandidateStatus) -> None:
        for phase in get_args(CandidatePhase):
            self._phase.labels(rollout, candidate.name, phase).set(candidate.phase == phase)
        for metric in candidate.analysis.metrics if candidate.analysis is not None else ():
            if metric.value is not None:
                self._measured.labels(rollout, candidate.name, metric.type).set(metric.value)
            self._failures.labels(rollout, candidate.name, metric.type).set(metric.failures)
