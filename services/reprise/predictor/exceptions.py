"""Errors of this package."""

from collections.abc import Iterable
from datetime import timedelta

from reprise.runtime.durations import format_duration
from reprise.runtime.exceptions import RepriseError


class PredictorError(RepriseError):
    """Root of this package's errors."""


class ModelRefusedError(PredictorError):
    """A bundle does not fit this predictor; the message says which part, and what was expected."""


class NoModelError(PredictorError):
    """No model is loaded; the message says why."""


class PlanMismatchError(PredictorError):
    """A row of state was written by another plan than the model's, or has an infinite number."""


class CircuitOpenError(PredictorError):
    """The circuit breaker refuses a read because the online store keeps failing."""


class OverloadedError(PredictorError):
    """The limit of concurrent requests is reached."""


class DeadlineExceededError(PredictorError):
    """The prediction missed its deadline."""


class ModelFailedError(PredictorError):
    """The model of an arm returned no probability for a request."""


class NoProductListError(PredictorError):
    """The model's plan keeps no list of a user's products."""


class NoExplanationError(PredictorError):
    """The contributions of a model's inputs cannot be computed; the message says why."""


class UnknownHorizonError(PredictorError):
    """The model does not answer for this horizon."""

    def __init__(self, horizon: timedelta, known: Iterable[timedelta]) -> None:
        self.horizon = horizon
        listed = ", ".join(map(format_duration, sorted(known)))
        super().__init__(f"Expected a horizon of the model: {listed}")


class TimestampOutOfRangeError(PredictorError):
    """A request's timestamp is too far from now for the online store, which holds present state only."""

    def __init__(self, timestamp_us: int, limit_seconds: float) -> None:
        self.timestamp_us = timestamp_us
        super().__init__(
            f"Expected a timestamp within {limit_seconds:g} s of now, because the online store holds present "
            "state only; omit it for now"
        )
