"""Errors of this package."""

from reprise.runtime.exceptions import RepriseError


class PredictorError(RepriseError):
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


class StoreHeldOffError(PredictorError):
    """The online store keeps failing and is not asked for the moment."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"the online store keeps failing; it is asked again in {seconds:.3g} s")


class OverloadedError(PredictorError):
    """As many requests are under way as may be."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"{limit} {what} are under way, which is the limit")


class DeadlineExceededError(PredictorError):
    """The answer would come later than it is of use."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s")


class InstantOutOfRangeError(PredictorError):
    """A request's timestamp is too far from now for the state, which is of the present, to answer it."""

    def __init__(self, timestamp_us: int, limit_seconds: float) -> None:
        self.timestamp_us = timestamp_us
        super().__init__(
            f"Expected an instant within {limit_seconds:g} s of now: the online store holds the state of the "
            "present; leave timestamp out to ask for now"
        )


class ModelFailedError(PredictorError):
    """The model of an arm gave no answer; says which, and why."""

    def __init__(self, arm: str, digest: str, reason: str) -> None:
        self.arm = arm
        super().__init__(f"the model of arm {arm}, {digest}, fails: {reason}")
