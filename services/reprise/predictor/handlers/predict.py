"""``POST /predict`` and ``POST /predict/batch``, on the fast path that bypasses FastAPI."""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson
from fastapi import FastAPI
from starlette.types import Scope

from reprise.http.middleware.access_log import note_ids
from reprise.http.middleware.fast_path import FastHandler, add_fast_route
from reprise.http.middleware.rate_limit import charge
from reprise.http.openapi import json_content, model_schemas, problem_responses
from reprise.http.problems import INTERNAL_ERROR, INVALID_REQUEST, FieldProblem, ProblemError
from reprise.http.tracing.trace_context import TRACE, Trace
from reprise.predictor.context import PredictorContext
from reprise.predictor.handlers.problems import (
    EXPECTED_ERRORS,
    MODEL_FAILED,
    PREDICTION_PROBLEMS,
    UNREADABLE_STATE,
    problem_of,
)
from reprise.predictor.handlers.request_decoder import DecodedBatch, RequestDecoder
from reprise.predictor.handlers.responses import block_responses, prediction_response
from reprise.predictor.models.api import BatchResponse, ItemProblem, PredictionResponse, component_schemas
from reprise.predictor.models.prediction import BatchPrediction, Prediction
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)
_ENDPOINTS = ("/predict", "/predict/batch")
_FEATURES_LINK = {
    "features": {
        "operationId": "features",
        "description": "The present features of the same user and product.",
        "parameters": {"user_id": "$response.body#/user_id", "product_id": "$response.body#/product_id"},
    }
}
_EXPLAIN = {
    "name": "explain",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "enum": ["all"]},
    "example": "all",
    "description": "``all`` returns every input of the model in ``features_used``.",
}


def add_predict_routes(app: FastAPI, context: PredictorContext) -> None:
    """Add ``POST /predict`` and ``POST /predict/batch``."""
    decoder = RequestDecoder(context.settings.event_types, context.settings.max_batch)
    handlers = _PredictHandlers(context, decoder)
    document = _documentation("predict", decoder.request, PredictionResponse, links=_FEATURES_LINK)
    summary = "Predict whether a user buys a product"
    add_fast_route(app, "POST", "/predict", handlers.predict, summary=summary, **document)
    document = _documentation("predictBatch", decoder.batch, BatchResponse)
    document["schemas"] |= model_schemas(ItemProblem)
    summary = "Predict for several users and products"
    add_fast_route(app, "POST", "/predict/batch", handlers.predict_batch, summary=summary, **document)


class _PredictHandlers:
    def __init__(self, context: PredictorContext, decoder: RequestDecoder) -> None:
        self._router = context.router
        self._decoder = decoder
        self._service = context.service
        self._admission = {"/predict": context.single_admission, "/predict/batch": context.batch_admission}
        self._prediction_log = context.prediction_log
        self._logs_ids = context.settings.access_log == "ids"
        self._retry_seconds = context.settings.retry_after_seconds
        self._observe_validate = context.metrics.stages.of("validate")
        self._observe_encode = context.metrics.stages.of("encode")
        self._observe_duration = {endpoint: context.metrics.duration.of(endpoint) for endpoint in _ENDPOINTS}
        self._counters = {
            (endpoint, outcome): context.metrics.requests.labels(endpoint, outcome)
            for endpoint in _ENDPOINTS
            for outcome in ("ok", *(kind.slug for kind in (*PREDICTION_PROBLEMS, INTERNAL_ERROR)))
        }

    async def predict(self, scope: Scope, body: bytes) -> bytes:
        return await self._measure("/predict", self._predict, scope, body)

    async def predict_batch(self, scope: Scope, body: bytes) -> bytes:
        return await self._measure("/predict/batch", self._predict_batch, scope, body)

    async def _predict(self, scope: Scope, body: bytes) -> bytes:
        start = time.perf_counter()
        explain = _parse_explain(query) if (query := scope["query_string"]) else False
        request = self._decoder.decode(body)
        if self._logs_ids:
            note_ids(scope, user_id=request.user_id, product_id=request.product_id)
        self._observe_validate(time.perf_counter() - start)
        prediction = await self._service.predict(self._router.table, request, _trace_id(scope))
        start = time.perf_counter()
        response = orjson.dumps(prediction_response(prediction, explain))
        self._observe_encode(time.perf_counter() - start)
        if self._prediction_log is not None:
            self._prediction_log.append(request, prediction, _trace_id(scope))
        return response

    async def _predict_batch(self, scope: Scope, body: bytes) -> bytes:
        start = time.perf_counter()
        explain = _parse_explain(query) if (query := scope["query_string"]) else False
        batch = self._decoder.decode_batch(body)
        charge(scope, len(batch))
        self._observe_validate(time.perf_counter() - start)
        prediction = await self._service.predict_batch(self._router.table, batch.requests, _trace_id(scope))
        start = time.perf_counter()
        response = orjson.dumps(self._batch_response(batch, prediction, explain))
        self._observe_encode(time.perf_counter() - start)
        if self._prediction_log is not None:
            self._prediction_log.append_batch(batch.requests, prediction, _trace_id(scope))
        return response

    def _batch_response(
        self, batch: DecodedBatch, prediction: BatchPrediction, explain: bool
    ) -> BatchResponse:
        results: list[Any] = [None] * len(batch)
        problems = dict(batch.problems)
        positions = batch.positions
        for block in prediction.blocks:
            for at, response in zip(block.positions, block_responses(block, explain), strict=True):
                results[positions[at]] = response
        for at, outcome in prediction.outcomes.items():
            if isinstance(outcome, Prediction):
                results[positions[at]] = prediction_response(outcome, explain)
            else:
                problems[positions[at]] = self._problem(outcome)
        for position, problem in problems.items():
            results[position] = {"index": position, **problem.document()}
        return {"results": results, "failed": len(problems)}

    async def _measure(self, endpoint: str, handler: FastHandler, scope: Scope, body: bytes) -> bytes:
        start = time.perf_counter()
        outcome = INTERNAL_ERROR.slug
        try:
            with self._admission[endpoint]:
                response = await handler(scope, body)
        except EXPECTED_ERRORS as error:
            problem = self._problem(error)
            outcome = problem.kind.slug
            raise problem from error
        except ProblemError as problem:
            outcome = problem.kind.slug
            raise
        else:
            outcome = "ok"
            return response
        finally:
            self._counters[endpoint, outcome].inc()
            self._observe_duration[endpoint](time.perf_counter() - start)

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


def _parse_explain(query: bytes) -> bool:
    faults = []
    explain = False
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name != "explain":
            faults.append(FieldProblem(field=name, message="Unknown query parameter", value=value))
        elif value != "all":
            faults.append(FieldProblem(field="explain", message="Expected all", value=value))
        else:
            explain = True
    if faults:
        names = ", ".join(fault.field for fault in faults)
        raise ProblemError(INVALID_REQUEST, f"The query is at fault ({names})", errors=faults)
    return explain


def _documentation(
    operation_id: str, body: type, response: type, links: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    answer = {"content": json_content(response.__name__), "links": links or {}}
    return {
        "operation_id": operation_id,
        "tags": ["predictions"],
        "description": body.__doc__,
        "responses": {200: answer, **problem_responses(*PREDICTION_PROBLEMS)},
        "schemas": component_schemas(body, response),
        "openapi_extra": {
            "parameters": [_EXPLAIN],
            "requestBody": {"required": True, "content": json_content(body.__name__)},
        },
    }
