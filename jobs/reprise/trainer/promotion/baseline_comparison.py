"""A new model against the one that serves, on the same recent rows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reprise.bundle import Bundle, Scores
from reprise.features.plan import ModelInput, Plan
from reprise.trainer.data.dataset import TrainingTable
from reprise.trainer.evaluation.held_out import score
from reprise.trainer.model.onnx_parity import GraphScorer


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much worse is still called not worse.

    Attributes:
        brier: Of the Brier score, as a part of the baseline's.
        roc_auc: Of the ROC AUC, absolute.
    """

    brier: float = 0.01
    roc_auc: float = 0.005


@dataclass(frozen=True, slots=True)
class AgainstBaseline:
    """Two models on the same held-out rows of the latest time.

    Attributes:
        baseline: Digest of the model that serves.
        rows: How many rows.
        candidate_scores: The new model's measures.
        baseline_scores: Those of the model that serves.
        tolerance: How much worse is still not worse.
    """

    baseline: str
    rows: int
    candidate_scores: Scores
    baseline_scores: Scores
    tolerance: Tolerance

    @property
    def worse(self) -> list[str]:
        """In what the new model is worse; nothing where it is not."""
        new, old = self.candidate_scores, self.baseline_scores
        found = []
        if new.brier > old.brier * (1 + self.tolerance.brier):
            found.append(
                f"its Brier score {new.brier:.5f} is above the baseline's {old.brier:.5f} by more than"
                f" {self.tolerance.brier:.1%} of it"
            )
        if (
            new.roc_auc is not None
            and old.roc_auc is not None
            and new.roc_auc < old.roc_auc - self.tolerance.roc_auc
        ):
            found.append(
                f"its ROC AUC {new.roc_auc:.4f} is below the baseline's {old.roc_auc:.4f} by more than"
                f" {self.tolerance.roc_auc:g}"
            )
        return found


def compare_with_baseline(
    rows: TrainingTable,
    probabilities: npt.NDArray[np.float64],
    plan: Plan,
    baseline: Bundle,
    rows_of: Callable[[Plan], TrainingTable],
    tolerance: Tolerance,
) -> AgainstBaseline:
    """Return how the new model and the baseline do on the same rows.

    Args:
        rows: Held-out rows.
        probabilities: The new model's, for them.
        plan: The plan that these rows are of.
        baseline: The model that serves.
        rows_of: Computes the same rows by another plan; called where the baseline's inputs are not all in this one.
        tolerance: How much worse is still not worse.
    """
    other = Plan.from_dict(baseline.manifest.plan)
    inputs = _columns(rows, plan, other)
    if inputs is None:
        inputs = rows_of(other).inputs
    threshold = baseline.manifest.threshold
    said = GraphScorer(baseline.model).score(inputs)
    return AgainstBaseline(
        baseline=baseline.digest,
        rows=len(rows),
        candidate_scores=score(rows.labels, probabilities, threshold),
        baseline_scores=score(rows.labels, said, threshold),
        tolerance=tolerance,
    )


def _columns(rows: TrainingTable, plan: Plan, other: Plan) -> npt.NDArray[np.float32] | None:
    """Return the rows as the other plan's inputs, or None where it has one that this plan does not define so."""
    if plan.hash == other.hash:
        return rows.inputs
    if plan.schema_hash != other.schema_hash:
        return None
    here = {_definition(item): at for at, item in enumerate(plan.inputs)}
    wanted = [here.get(_definition(item)) for item in other.inputs]
    if None in wanted:
        return None
    return rows.inputs[:, [at for at in wanted if at is not None]]


def _definition(item: ModelInput) -> tuple[str, str, str]:
    return item.entity, item.name, repr(sorted(item.finish.items()))
