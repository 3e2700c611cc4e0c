"""Prometheus metrics of a training run."""

from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge

from reprise.bundle import SliceReport
from reprise.trainer.evaluation.held_out import scores_by_scorer
from reprise.trainer.pipeline import TrainingResult

JOB = "reprise-trainer"


class TrainerMetrics:
    """Metrics of the last trained model, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, documentation: str, *labels: str) -> Gauge:
            return Gauge(f"reprise_trainer_{name}", documentation, labels, registry=registry)

        self._scores = gauge(
            "evaluation",
            "How good the last model is on held-out rows, by measure, by slice (overall,"
            " repeat_candidates), and by what scored: model, baselines, oracle. Undefined measures are absent.",
            "measure",
            "slice",
            "scorer",
        )
        self._rows = gauge(
            "rows", "Rows of the last model's windows: train, calibration, evaluation, published.", "window"
        )
        self._positives = gauge(
            "positive_rows", "Rows of the last model's windows whose user bought.", "window"
        )
        self._events = gauge("events", "Events that the last model was trained from.")
        self._last_event = gauge(
            "last_event_timestamp_seconds", "Time of the newest event that the last model was trained from."
        )
        self._steps = gauge("step_seconds", "How long each step of the last successful run took.", "step")
        self._model = gauge("model_info", "1 for the model that was trained last.", "digest")

    def show(self, result: TrainingResult) -> None:
        """Set the metrics of a run."""
        manifest, data = result.manifest, result.manifest.data
        windows = {
            "train": data.train,
            "calibration": data.calibration,
            "evaluation": data.evaluation,
            "published": result.run.refit.train,
        }
        for name, window in windows.items():
            self._rows.labels(name).set(window.rows)
            self._positives.labels(name).set(window.positives)
        self._events.set(data.events)
        self._last_event.set(datetime.fromisoformat(data.last).timestamp())
        self._show_slice("overall", manifest.evaluation.overall)
        if manifest.evaluation.repeat_candidates is not None:
            self._show_slice("repeat_candidates", manifest.evaluation.repeat_candidates)
        for step, seconds in result.run.durations.items():
            self._steps.labels(step).set(seconds)
        self._model.labels(str(result.digest)).set(1)

    def _show_slice(self, name: str, report: SliceReport) -> None:
        for scorer, scores in scores_by_scorer(report).items():
            for measure, value in scores.model_dump().items():
                if value is not None:
                    self._scores.labels(measure, name, scorer).set(value)
