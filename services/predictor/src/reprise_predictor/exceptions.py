"""Errors of this package."""


class PredictorError(Exception):
    """Root of this package's errors."""


class ModelRefusedError(PredictorError):
    """A bundle does not fit this predictor; says what was expected of which part."""


class NoModelError(PredictorError):
    """There is no model to answer with; says why."""


class ForeignStateError(PredictorError):
    """A row of state was not written for the plan of the model that reads it."""

    def __init__(self, view: str, field: str) -> None:
        self.view = view
        self.field = field
        super().__init__(
            f"{view}.{field} is null, which the plan of the model never writes; the row is from another plan"
        )
