"""Comparison of a new model with the one that serves, on the same recent rows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reprise.bundle import Bundle, Scores
from reprise.bundle.scorer import Scorer
from reprise.evaluation.classification_metrics import Floats
from reprise.features.plan import ModelInput, Plan
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.evaluation.held_out import score
from reprise.trainer.model.onnx_graph import score_rows


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much worse a model may be and still count as not worse.

    Attributes:
        brier: Increase of the Brier score, relative to the baseline's.
        roc_auc: Decrease of the ROC AUC, absolute.
    """

    brier: float = 0.01
    roc_auc: float = 0.005


@dataclass(frozen=True, slots=True)
class BaselineComparison:
    """Scores of the new model and of the serving one, ``baseline``, on the same most recent held-out rows."""

    baseline: str
    rows: int
    candidate_scores: Scores
    baseline_scores: Scores
    tolerance: Tolerance

    @property
    def worse(self) -> list[str]:
        """Each metric in which the new model is worse, as a phrase."""
        new, old = self.candidate_scores, self.baseline_scores
        found = []
        if new.brier > old.brier * (1 + self.tolerance.brier):
            found.append(
                f"its Brier score {new.brier:.5f} exceeds the baseline's {old.brier:.5f} by more than"
                f" {self.tolerance.brier:.1%}"
            )
        both = new.roc_auc is not None and old.roc_auc is not None
        if both and new.roc_auc < old.roc_auc - self.tolerance.roc_auc:  # type: ignore[operator]
            found.append(
                f"its ROC AUC {new.roc_auc:.4f} is below the baseline's {old.roc_auc:.4f} by more than"
                f" {self.tolerance.roc_auc:g}"
            )
        return found


def compare_with_baseline(
    rows: Dataset,
    probabilities: Floats,
    plan: Plan,
    baseline: Bundle,
    compute_rows: Callable[[Plan], Dataset],
    tolerance: Tolerance,
) -> BaselineComparison:
    """Compare the new model, which gave the ``probabilities``, with the baseline on the same held-out rows.

    ``compute_rows`` computes the rows by another plan. It is called if their ``plan`` lacks an input of the baseline.
    """
    other = Plan.from_dict(baseline.manifest.plan)
    inputs = _inputs_of_plan(rows, plan, other)
    if inputs is None:
        inputs = compute_rows(other).inputs
    threshold = baseline.manifest.threshold
    return BaselineComparison(
        baseline=baseline.digest,
        rows=len(rows),
        candidate_scores=score(rows.labels, probabilities, threshold),
        baseline_scores=score(rows.labels, score_rows(Scorer.of(baseline), inputs), threshold),
        tolerance=tolerance,
    )


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
