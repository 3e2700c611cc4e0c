"""Errors of this package."""

from reprise.runtime.exceptions import RepriseError


class TrainerError(RepriseError):
    """Root of this package's errors."""


class TrainingRefusedError(TrainerError):
    """The data cannot be learnt from; says why, and what would help."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{reason}\nWhat would help: {remedy}")


class TruthError(TrainerError):
    """The file of true probabilities cannot be used with these events."""


class RowsError(TrainerError):
    """The training rows are not what the plan says."""


class GraphMismatchError(TrainerError):
    """ONNX Runtime answers differently from scikit-learn, so nothing is published."""

    def __init__(self, rows: int, max_abs_diff: float, tolerance: float) -> None:
        self.rows = rows
        self.max_abs_diff = max_abs_diff
        self.tolerance = tolerance
        super().__init__(
            f"ONNX differs from scikit-learn by up to {max_abs_diff:.3g} on {rows:,} rows, allowed is "
            f"{tolerance:g}; the bundle was not published"
        )


class RolloutError(TrainerError):
    """The bundle is published, but could not be proposed to a rollout; running the training again may help."""

    def __init__(self, doing: str, reason: str) -> None:
        super().__init__(f"could not {doing}: {reason}")


class RolloutUnavailableError(RolloutError):
    """The API server did not do what it was asked."""


class RolloutConflictError(RolloutError):
    """The rollout was changed by somebody else at the same time, again and again."""


class RolloutRefusedError(TrainerError):
    """The rollout has no place for the candidate."""

    def __init__(self, rollout: str, reason: str) -> None:
        super().__init__(f"ModelRollout {rollout}: {reason}")
