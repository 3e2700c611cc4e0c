"""Comparison of a new model with the one that serves, on the same recent rows that neither was grown on.

Published models are grown on everything labelled, so what is compared is what was evaluated: of each training the model
that ends before its evaluation span. The one that serves is thereby as much older as its training is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reprise.bundle import Bundle
from reprise.bundle.scorer import Scorer
from reprise.evaluation.classification_metrics import Floats, RankedPredictions
from reprise.evaluation.cluster_bootstrap import Interval, bootstrap
from reprise.events import parse_timestamp
from reprise.features.plan import ModelInput, Plan
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.evaluation.held_out import MODEL, Predictions
from reprise.trainer.model.onnx_graph import score_rows

MIN_LABELS = 10
DRAWS = 400
NAMES = {"brier": "Brier score", "roc_auc": "ROC AUC"}
_ROUNDING = 1e-6
_FALLS = {"brier"}
"""Metrics that are better if they are lower."""


@dataclass(frozen=True, slots=True)
class PairedMetric:
    """A metric of both models on the same rows; an ``improvement`` above 0 means that the new model is better."""

    candidate: float
    baseline: float
    improvement: Interval


@dataclass(frozen=True, slots=True)
class BaselineComparison:
    """The new model and the serving one, ``baseline``, on the same most recent held-out rows."""

    baseline: str  # Digest of the serving model
    rows: int  # Number of rows
    users: int  # Number of their users, whom the intervals resample
    # Brier score and ROC AUC; empty if the rows have too few labels of one kind
    metrics: Mapping[str, PairedMetric]

    @property
    def objections(self) -> list[str]:
        """Why the new model must not be proposed, as phrases: each metric in which it is shown to be worse."""
        if not self.metrics:
            return [
                f"it cannot be compared: only {self.rows:,} held-out rows are new to the baseline too,"
                f" and at least {MIN_LABELS} with a purchase and {MIN_LABELS} without are needed"
            ]
        return self.losses

    @property
    def losses(self) -> list[str]:
        """Each metric in which the new model is shown to be worse, as phrases."""
        return [
            f"its {NAMES[name]} {metric.candidate:.4f} is worse than the baseline's {metric.baseline:.4f}, by"
            f" {-metric.improvement.upper:.4f} to {-metric.improvement.lower:.4f} (95% interval, {self.users:,} users)"
            for name, metric in self.metrics.items()
            if metric.improvement.upper < -_ROUNDING
        ]


def compare_with_baseline(
    predictions: Predictions,
    plan: Plan,
    baseline: Bundle,
    evaluated_model: bytes,
    compute_rows: Callable[[Plan], Dataset],
) -> BaselineComparison:
    """Compare the evaluated model of this training with that of the baseline.

    Args:
        predictions: The evaluation rows with the new model's probabilities.
        plan: The plan of their inputs.
        baseline: The bundle that serves.
        evaluated_model: The graph of its evaluated model.
        compute_rows: Computes the same rows by another plan; called if ``plan`` lacks an input of the baseline.
    """
    other, model = Plan.from_dict(baseline.manifest.plan), baseline.manifest.model
    rows = predictions.rows
    inputs = _inputs_of_plan(rows, plan, other)
    if inputs is None:
        inputs = compute_rows(other).inputs
    # the baseline's evaluation begins one horizon after the last row that its evaluated model was fitted on
    unseen = rows.timestamps_us >= parse_timestamp(baseline.manifest.data.evaluation.start)
    compared = predictions.subset(unseen)
    labels, users = compared.rows.labels, np.unique(compared.rows.users, return_inverse=True)[1]
    metrics: dict[str, PairedMetric] = {}
    if min(compared.rows.positives, len(labels) - compared.rows.positives) >= MIN_LABELS:
        scorer = Scorer(evaluated_model, model.input, model.output, baseline.manifest.input_names)
        metrics = _paired_metrics(
            labels, compared.by_scorer[MODEL], score_rows(scorer, inputs[unseen]), users
        )
    return BaselineComparison(baseline.digest, len(labels), len(np.unique(users)), metrics)


def _paired_metrics(
    labels: npt.NDArray[np.bool_], candidate: Floats, baseline: Floats, users: npt.NDArray[np.int64]
) -> dict[str, PairedMetric]:
    ranked = [RankedPredictions.of(labels, probabilities) for probabilities in (candidate, baseline)]

    def improvements(weights: Floats | None) -> dict[str, float]:
        new, old = (each.metrics(weights) for each in ranked)
        return {
            name: (getattr(new, name) - getattr(old, name)) * (-1 if name in _FALLS else 1) for name in NAMES
        }

    new, old = (each.metrics() for each in ranked)
    intervals = bootstrap(improvements, users, draws=DRAWS, seed=0)
    return {name: PairedMetric(getattr(new, name), getattr(old, name), intervals[name]) for name in NAMES}


def _inputs_of_plan(rows: Dataset, plan: Plan, other: Plan) -> npt.NDArray[np.float32] | None:
    """Return the rows as the other plan's inputs, or None if this plan lacks one or defines it otherwise."""
    if plan.hash == other.hash:
        return rows.inputs
    if plan.schema_hash != other.schema_hash:
        return None
    positions = {_definition(item): at for at, item in enumerate(plan.inputs)}
    wanted = [positions.get(_definition(item)) for item in other.inputs]
    if None in wanted:
        return None
    return rows.inputs[:, [at for at in wanted if at is not None]]


def _definition(item: ModelInput) -> tuple[str, str, str]:
    return item.entity, item.name, repr(sorted(item.finish.items()))
