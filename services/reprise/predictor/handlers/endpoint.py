"""What all endpoints share: the problems that errors become, and the metrics of requests."""

import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from reprise.events import format_timestamp
from reprise.http.problems import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    INTERNAL_ERROR,
    INVALID_JSON,
    INVALID_REQUEST,
    UNSUPPORTED_MEDIA_TYPE,
    FieldProblem,
    ProblemError,
    ProblemType,
    invalid_request,
    retry_after,
)
from reprise.predictor.context import PredictorContext
from reprise.predictor.exceptions import (
    CircuitOpenError,
    DeadlineExceededError,
    ModelFailedError,
    NoExplanationError,
    NoModelError,
    NoProductListError,
    OverloadedError,
    PlanMismatchError,
    TimestampOutOfRangeError,
    UnknownHorizonError,
)
from reprise.runtime.durations import format_duration
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import CorruptRowError, StoreError

STORE_UNAVAILABLE = ProblemType("store-unavailable", 503, "The online store is unavailable")
NO_MODEL = ProblemType("no-model", 503, "No model is loaded")
OVERLOADED = ProblemType("overloaded", 503, "The service is overloaded")
DEADLINE_EXCEEDED = ProblemType("deadline-exceeded", 503, "The prediction missed its deadline")
MODEL_FAILED = ProblemType("model-failed", 500, "The model failed")
NO_PRODUCT_LIST = ProblemType("no-product-list", 501, "The model keeps no list of products")
UNREADABLE_STATE = ProblemType("unreadable-state", 500, "Stored state cannot be read")

PREDICTION_PROBLEMS = (
    *(BAD_REQUEST, INVALID_JSON, BODY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, INVALID_REQUEST),
    *(UNREADABLE_STATE, MODEL_FAILED, STORE_UNAVAILABLE, NO_MODEL, OVERLOADED, DEADLINE_EXCEEDED),
)
"""The problems of a prediction, beyond those of every endpoint."""

_AWAY = "The online store does not answer."
_MISMATCH = "The state of this user or product does not match the model's plan."
_NO_LIST = "An older version trained the model. Plan, train, backfill and roll out with this one."
_PROBLEMS: dict[type[Exception], tuple[ProblemType, str]] = {
    NoModelError: (NO_MODEL, "No model is loaded yet."),
    ModelFailedError: (MODEL_FAILED, "The model failed on this request."),
    OverloadedError: (OVERLOADED, "The limit of concurrent requests is reached."),
    DeadlineExceededError: (DEADLINE_EXCEEDED, "The prediction was not ready within the deadline."),
    CircuitOpenError: (STORE_UNAVAILABLE, _AWAY),
    StoreError: (STORE_UNAVAILABLE, _AWAY),
    CorruptRowError: (UNREADABLE_STATE, _MISMATCH),
    PlanMismatchError: (UNREADABLE_STATE, _MISMATCH),
    NoProductListError: (NO_PRODUCT_LIST, _NO_LIST),
}
_EXPECTED_ERRORS: tuple[type[Exception], ...] = (
    *_PROBLEMS,
    NoExplanationError,
    TimestampOutOfRangeError,
    UnknownHorizonError,
)

_PARAMETER = re.compile(r"/\{[^}]*\}")
_Result = TypeVar("_Result")
_log = get_logger(__name__)


def problem_of(error: Exception, retry_seconds: float) -> ProblemError:
    """Return the problem that stands for an error of a prediction.

    It says what the client can act on. The store's address and the key that was read are for the log only.
    """
    if isinstance(error, TimestampOutOfRangeError):
        value = format_timestamp(error.timestamp_us)
        return invalid_request([FieldProblem(field="timestamp", message=str(error), value=value)])
    if isinstance(error, NoExplanationError):
        return invalid_request([FieldProblem(field="explain", message=str(error), value="contributions")])
    if isinstance(error, UnknownHorizonError):
        value = format_duration(error.horizon)
        return invalid_request([FieldProblem(field="horizon", message=str(error), value=value)])
    kind, detail = next(problem for known, problem in _PROBLEMS.items() if isinstance(error, known))
    if kind in (UNREADABLE_STATE, MODEL_FAILED):
        _log.error(kind.slug.replace("-", "_"), reason=str(error))
    return ProblemError(kind, detail, headers=retry_after(retry_seconds) if kind.status == 503 else None)


class Endpoint:
    """Counts and times the requests of one endpoint, ``outcomes`` from zero, and converts errors to problems."""

    def __init__(self, name: str, context: PredictorContext, outcomes: tuple[str, ...] = ()) -> None:
        self._name = name
        self._retry_seconds = context.settings.retry_after_seconds
        self._observe_duration = context.metrics.duration.of(name)
        self._requests = context.metrics.requests
        self._counters = {outcome: self._requests.labels(name, outcome) for outcome in outcomes}

    async def handle(self, handler: Callable[..., Awaitable[_Result]], *args: Any) -> _Result:
        """Return what a handler returns; raises ``ProblemError`` for any error of a prediction."""
        start = time.perf_counter()
        outcome = INTERNAL_ERROR.slug
        try:
            result = await handler(*args)
        except _EXPECTED_ERRORS as error:
            problem = problem_of(error, self._retry_seconds)
            outcome = problem.kind.slug
            raise problem from error
        except ProblemError as problem:
            outcome = problem.kind.slug
            raise
        except RequestValidationError:
            outcome = INVALID_REQUEST.slug
            raise
        else:
            outcome = "ok"
            return result
        finally:
            counter = self._counters.get(outcome)
            if counter is None:
                counter = self._counters[outcome] = self._requests.labels(self._name, outcome)
            counter.inc()
            self._observe_duration(time.perf_counter() - start)


def endpoint_route(context: PredictorContext) -> type[APIRoute]:
    """Return a class of routes whose requests an ``Endpoint`` handles, named by the path without parameters."""

    class EndpointRoute(APIRoute):
        def get_route_handler(self) -> Any:
            handle = super().get_route_handler()
            endpoint = Endpoint(_PARAMETER.sub("", self.path), context)
            # A lambda is no coroutine function, so FastAPI would call it on a thread.
            return partial(endpoint.handle, handle)

    return EndpointRoute
