"""``POST /predict`` and ``POST /predict/batch``."""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.types import Scope

from reprise.http.middleware.access_log import note_ids
from reprise.http.middleware.fast_path import FastHandler, add_fast_route
from reprise.http.middleware.rate_limit import charge
from reprise.http.openapi import problem_responses
from reprise.http.problems import (
    BODY_TOO_LARGE,
    INTERNAL_ERROR,
    INVALID_JSON,
    INVALID_REQUEST,
    UNSUPPORTED_MEDIA_TYPE,
    FieldProblem,
    ProblemError,
)
from reprise.http.tracing.trace_context import TRACE, Trace
from reprise.predictor.context import PredictorContext
from reprise.predictor.handlers.request_decoder import ReadBatch, RequestReader
from reprise.predictor.handlers.responses import (
    DEADLINE_EXCEEDED,
    EXPECTED_ERRORS,
    MODEL_FAILED,
    NO_MODEL,
    OVERLOADED,
    STORE_UNAVAILABLE,
    UNREADABLE_STATE,
    block_documents,
    item_problem,
    prediction_document,
    problem_of,
)
from reprise.predictor.models.api import BatchResponse, PredictionResponse
from reprise.predictor.models.prediction import BatchPrediction, Prediction
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)
PROBLEMS = (
    INVALID_JSON,
    BODY_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    INVALID_REQUEST,
    UNREADABLE_STATE,
    MODEL_FAILED,
    STORE_UNAVAILABLE,
    NO_MODEL,
    OVERLOADED,
    DEADLINE_EXCEEDED,
)
"""Every kind of problem that a prediction may be answered with, beside those of any address."""

_ENDPOINTS = ("/predict", "/predict/batch")
_FEATURES_OF_ANSWER = {
    "features": {
        "operationId": "features",
        "description": "The features of the same user and product, now.",
        "parameters": {"user_id": "$response.body#/user_id", "product_id": "$response.body#/product_id"},
    }
}
_EXPLAIN = {
    "name": "explain",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "enum": ["all"]},
    "example": "all",
    "description": "``all`` shows every input of the model in ``features_used``.",
}


def add_predict_routes(app: FastAPI, context: PredictorContext) -> None:
    """Add the two addresses that predict."""
    requests = RequestReader(context.settings.event_types, context.settings.max_batch)
    handlers = _PredictHandlers(context, requests)
    add_fast_route(
        app,
        "POST",
        "/predict",
        handlers.predict,
        operation_id="predict",
        summary="Predict whether a user buys a product",
        **_documentation(requests.request, PredictionResponse, _FEATURES_OF_ANSWER),
    )
    add_fast_route(
        app,
        "POST",
        "/predict/batch",
        handlers.predict_batch,
        operation_id="predictBatch",
        summary="Predict for many users and products at once",
        **_documentation(requests.batch, BatchResponse),
    )


class _PredictHandlers:
    def __init__(self, context: PredictorContext, requests: RequestReader) -> None:
        self._routing = context.routing
        self._requests = requests
        self._service = context.service
        self._admissions = {"/predict": context.singles, "/predict/batch": context.batches}
        self._log = context.log
        self._log_ids = context.settings.access_log == "ids"
        self._retry_seconds = context.settings.retry_after_seconds
        self._took_validate = context.metrics.stages.of("validate")
        self._took_encode = context.metrics.stages.of("encode")
        self._took = {endpoint: context.metrics.duration.of(endpoint) for endpoint in _ENDPOINTS}
        self._counts = {
            (endpoint, outcome): context.metrics.requests.labels(endpoint, outcome)
            for endpoint in _ENDPOINTS
            for outcome in ("ok", *(kind.slug for kind in (*PROBLEMS, INTERNAL_ERROR)))
        }

    async def predict(self, scope: Scope, body: bytes) -> bytes:
        return await self._counted("/predict", self._predict, scope, body)

    async def predict_batch(self, scope: Scope, body: bytes) -> bytes:
        return await self._counted("/predict/batch", self._predict_batch, scope, body)

    async def _predict(self, scope: Scope, body: bytes) -> bytes:
        start = time.perf_counter()
        explain = _explain(query) if (query := scope["query_string"]) else False
        request = self._requests.one(body)
        if self._log_ids:
            note_ids(scope, user_id=request.user_id, product_id=request.product_id)
        self._took_validate(time.perf_counter() - start)
        prediction = await self._service.predict(self._routing.current, request, _trace_id(scope))
        start = time.perf_counter()
        answer = orjson.dumps(prediction_document(prediction, explain))
        self._took_encode(time.perf_counter() - start)
        if self._log is not None:
            self._log.note(request, prediction, _trace_id(scope))
        return answer

    async def _predict_batch(self, scope: Scope, body: bytes) -> bytes:
        start = time.perf_counter()
        explain = _explain(query) if (query := scope["query_string"]) else False
        batch = self._requests.many(body)
        charge(scope, len(batch))
        self._took_validate(time.perf_counter() - start)
        prediction = await self._service.predict_many(self._routing.current, batch.requests, _trace_id(scope))
        start = time.perf_counter()
        results, failed = self._results(batch, prediction, explain)
        answer = orjson.dumps({"results": results, "failed": failed})
        self._took_encode(time.perf_counter() - start)
        if self._log is not None:
            self._log.note_batch(batch.requests, prediction, _trace_id(scope))
        return answer

    def _results(
        self, batch: ReadBatch, prediction: BatchPrediction, explain: bool
    ) -> tuple[list[dict[str, Any]], int]:
        results: list[dict[str, Any]] = [{}] * len(batch)
        failed = len(batch.problems)
        places = batch.places
        for place, problem in batch.problems.items():
            results[place] = item_problem(problem, place)
        for block in prediction.blocks:
            for position, document in zip(block.positions, block_documents(block, explain), strict=True):
                results[places[position]] = document
        for position, outcome in prediction.others.items():
            place = places[position]
            if isinstance(outcome, Prediction):
                results[place] = prediction_document(outcome, explain)
            else:
                results[place] = item_problem(self._problem(outcome), place)
                failed += 1
        return results, failed

    async def _counted(self, endpoint: str, handler: FastHandler, scope: Scope, body: bytes) -> bytes:
        start = time.perf_counter()
        outcome = INTERNAL_ERROR.slug
        try:
            with self._admissions[endpoint]:
                answer = await handler(scope, body)
        except EXPECTED_ERRORS as error:
            problem = self._problem(error)
            outcome = problem.kind.slug
            raise problem from error
        except ProblemError as problem:
            outcome = problem.kind.slug
            raise
        else:
            outcome = "ok"
            return answer
        finally:
            self._counts[endpoint, outcome].inc()
            self._took[endpoint](time.perf_counter() - start)

    def _problem(self, error: Exception) -> ProblemError:
        problem = problem_of(error, self._retry_seconds)
        if problem.kind is UNREADABLE_STATE:
            _log.error("unreadable_state", reason=str(error))
        elif problem.kind is MODEL_FAILED:
            _log.error("model_failed", reason=str(error))
        return problem


def _trace_id(scope: Scope) -> str | None:
    trace: Trace | None = scope.get(TRACE)
    return trace.trace_id if trace else None


def _explain(query: bytes) -> bool:
    faults = []
    explain = False
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name != "explain":
            faults.append(FieldProblem(field=name, message="There is no such query parameter", value=value))
        elif value != "all":
            faults.append(FieldProblem(field="explain", message="Expected all", value=value))
        else:
            explain = True
    if faults:
        names = ", ".join(fault.field for fault in faults)
        raise ProblemError(INVALID_REQUEST, f"The query is at fault ({names})", errors=faults)
    return explain


def _documentation(
    body: type[BaseModel], answer: type[BaseModel], links: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "tags": ["predictions"],
        "description": body.__doc__,
        "body": body,
        "query": [_EXPLAIN],
        "response_model": answer,
        "responses": {200: {"links": dict(links or {})}, **problem_responses(*PROBLEMS)},
    }
