"""The problems that a prediction can be answered with, and the errors that they stand for."""

from reprise.events import format_timestamp
from reprise.http.problems import (
    BODY_TOO_LARGE,
    INVALID_JSON,
    INVALID_REQUEST,
    UNSUPPORTED_MEDIA_TYPE,
    FieldProblem,
    ProblemError,
    ProblemType,
    retry_after,
)
from reprise.predictor.exceptions import (
    CircuitOpenError,
    DeadlineExceededError,
    ModelFailedError,
    NoModelError,
    OverloadedError,
    PlanMismatchError,
    TimestampOutOfRangeError,
)
from reprise.store.exceptions import CorruptRowError, StoreError

STORE_UNAVAILABLE = ProblemType("store-unavailable", 503, "The online store is unavailable")
NO_MODEL = ProblemType("no-model", 503, "No model is loaded")
OVERLOADED = ProblemType("overloaded", 503, "The service is overloaded")
DEADLINE_EXCEEDED = ProblemType("deadline-exceeded", 503, "The prediction missed its deadline")
MODEL_FAILED = ProblemType("model-failed", 500, "The model failed")
UNREADABLE_STATE = ProblemType("unreadable-state", 500, "Stored state cannot be read")

PREDICTION_PROBLEMS = (
    *(INVALID_JSON, BODY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, INVALID_REQUEST),
    *(UNREADABLE_STATE, MODEL_FAILED, STORE_UNAVAILABLE, NO_MODEL, OVERLOADED, DEADLINE_EXCEEDED),
)
"""The problems of a prediction, beyond those of every endpoint."""

_PROBLEMS: dict[type[Exception], tuple[ProblemType, str]] = {
    NoModelError: (NO_MODEL, "No model is loaded yet."),
    ModelFailedError: (MODEL_FAILED, "The model failed on this request."),
    OverloadedError: (OVERLOADED, "The limit of concurrent requests is reached."),
    DeadlineExceededError: (DEADLINE_EXCEEDED, "The prediction was not ready within the deadline."),
    CircuitOpenError: (STORE_UNAVAILABLE, "The online store does not answer."),
    StoreError: (STORE_UNAVAILABLE, "The online store does not answer."),
    CorruptRowError: (UNREADABLE_STATE, "The state of this user or product does not match the model's plan."),
    PlanMismatchError: (
        UNREADABLE_STATE,
        "The state of this user or product does not match the model's plan.",
    ),
}

EXPECTED_ERRORS: tuple[type[Exception], ...] = (*_PROBLEMS, TimestampOutOfRangeError)
"""The errors that ``problem_of`` converts."""


def problem_of(error: Exception, retry_seconds: float) -> ProblemError:
    """Return the problem that stands for one of ``EXPECTED_ERRORS``.

    It says what the client can act on. The store's address and the key that was read are for the log only.
    """
    if isinstance(error, TimestampOutOfRangeError):
        value = format_timestamp(error.timestamp_us)
        fault = FieldProblem(field="timestamp", message=str(error), value=value)
        return ProblemError(INVALID_REQUEST, "1 field is at fault (timestamp)", errors=[fault])
    kind, detail = next(problem for known, problem in _PROBLEMS.items() if isinstance(error, known))
    return ProblemError(kind, detail, headers=retry_after(retry_seconds) if kind.status == 503 else None)
