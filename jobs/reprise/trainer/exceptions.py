"""Errors of this package."""

from reprise.runtime.exceptions import RepriseError


class TrainerError(RepriseError):
    """Root of this package's errors."""


class TrainingRefusedError(TrainerError):
    """The data is not enough to train on; says why, and what would help."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{reason}\nWhat would help: {remedy}")


class TruthError(TrainerError):
    """The file of true probabilities cannot be used with these events."""


class RowsError(TrainerError):
    """The training rows do not match the plan, or their cache cannot be read or written."""


class GraphMismatchError(TrainerError):
    """ONNX Runtime and scikit-learn disagree, so nothing is published."""

    def __init__(self, rows: int, max_abs_diff: float, tolerance: float) -> None:
        self.max_abs_diff = max_abs_diff
        super().__init__(
            f"ONNX differs from scikit-learn by up to {max_abs_diff:.3g} more than rounding explains, on {rows:,}"
            f" rows; allowed is {tolerance:g}; the bundle was not published"
        )


class RolloutError(TrainerError):
    """The bundle is published, but could not be proposed to a rollout; running the training again may help."""

    def __init__(self, operation: str, reason: str) -> None:
        super().__init__(f"could not {operation}: {reason}")


class RolloutUnavailableError(RolloutError):
    """The API server failed or refused."""


class RolloutConflictError(RolloutError):
    """The rollout changed between read and write, on every attempt."""


class RolloutRefusedError(TrainerError):
    """The rollout cannot take the candidate."""

    def __init__(self, rollout: str, reason: str) -> None:
        super().__init__(f"ModelRollout {rollout}: {reason}")
