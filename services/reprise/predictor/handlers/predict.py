"""``POST /predict``, ``POST /predict/batch`` and ``POST /rank``, on the fast path that bypasses FastAPI.

Also ``GET /users/{user_id}/buy-again``, whose path has a parameter.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache, partial
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import parse_qsl

import msgspec
import numpy as np
import orjson
from fastapi import APIRouter, FastAPI, Path, Query
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from reprise.events import format_timestamp
from reprise.features.accumulators import MICROSECONDS_PER_DAY
from reprise.features.plan import REQUIRED_INPUTS
from reprise.http.middleware.access_log import note_ids
from reprise.http.middleware.authentication import charge
from reprise.http.middleware.fast_path import FastHandler, add_fast_route
from reprise.http.openapi import json_content, model_schemas, problem_responses
from reprise.http.problems import INTERNAL_ERROR, FieldProblem, invalid_request
from reprise.http.tracing.trace_context import TRACE, Trace
from reprise.predictor.context import PredictorContext
from reprise.predictor.exceptions import NoExplanationError
from reprise.predictor.handlers.endpoint import (
    NO_PRODUCT_LIST,
    PREDICTION_PROBLEMS,
    Endpoint,
    endpoint_route,
    problem_of,
)
from reprise.predictor.handlers.lookups import PathIdentifier
from reprise.predictor.handlers.request_decoder import DecodedBatch, RequestDecoder
from reprise.predictor.models.api import (
    MAX_EXPLAINED,
    BatchResponse,
    Contributions,
    ItemProblem,
    Known,
    PredictionRequest,
    PredictionResponse,
    RankedProduct,
    RankRequest,
    RankResponse,
    component_schemas,
)
from reprise.predictor.models.loaded_model import LoadedModel, RoutingTable
from reprise.predictor.models.prediction import BatchPrediction, Prediction, PredictionBlock
from reprise.runtime.durations import parse_duration
from reprise.runtime.exceptions import InvalidDurationError

_KNOWN_WEIGHTS = np.array([4, 2, 1])
_KNOWN: list[Known] = [
    {"user": kind >= 4, "product": kind % 4 >= 2, "pair": kind % 2 == 1} for kind in range(8)
]
# Most requests of a batch have the same time.
_format_timestamp = lru_cache(maxsize=16)(format_timestamp)
_OUTCOMES = ("ok", *(kind.slug for kind in (*PREDICTION_PROBLEMS, INTERNAL_ERROR)))
_FEATURES_LINK = {
    "features": {
        "operationId": "features",
        "description": "The present features of the same user and product.",
        "parameters": {"user_id": "$response.body#/user_id", "product_id": "$response.body#/product_id"},
    }
}
CONTRIBUTIONS = "contributions"
_EXPLAIN = {
    "name": "explain",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "enum": ["all", CONTRIBUTIONS]},
    "example": "all",
    "description": "``all`` returns every input of the model in ``features_used``; ``contributions`` what the inputs"
    f" add to the forest's votes, for a batch of at most {MAX_EXPLAINED} requests.",
}
_HORIZON = {
    "name": "horizon",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "example": "30d",
    "description": "The horizon of the probability, one of those of ``GET /model/info``; by default the model's own.",
}
_EXPLANATIONS = [("explain", "all"), ("explain", CONTRIBUTIONS)]
_TOP = 10
_TIMING_INPUTS = ("pair_days_since_purchase", "pair_repurchase_days", "product_repurchase_days")


class _Query(NamedTuple):
    """What the query of a request asks for: an explanation, and another horizon."""

    explain: str = ""
    horizon: timedelta | None = None

    @property
    def horizon_seconds(self) -> int | None:
        """The other horizon in seconds."""
        return None if self.horizon is None else self.horizon // timedelta(seconds=1)


_NO_QUERY = _Query()


def add_predict_routes(app: FastAPI, context: PredictorContext) -> None:
    """Add the routes of predictions."""
    decoder = RequestDecoder(context.settings.event_types, context.settings.max_batch)
    handlers = _PredictHandlers(context, decoder)

    def add(
        path: str,
        handler: FastHandler,
        request: type,
        response: type,
        links: Mapping[str, Any] | None = None,
        **documentation: Any,
    ) -> None:
        endpoint = Endpoint(path, context, _OUTCOMES)
        answer = {"content": json_content(response.__name__), "links": links or {}}
        add_fast_route(
            app,
            "POST",
            path,
            partial(endpoint.handle, handler),
            schemas=component_schemas(request, response, RankedProduct) | model_schemas(ItemProblem),
            tags=["predictions"],
            description=request.__doc__,
            responses={200: answer, **problem_responses(*PREDICTION_PROBLEMS)},
            openapi_extra={
                "parameters": [_EXPLAIN, _HORIZON],
                "requestBody": {"required": True, "content": json_content(request.__name__)},
            },
            **documentation,
        )

    add(
        "/predict",
        handlers.predict,
        decoder.request,
        PredictionResponse,
        _FEATURES_LINK,
        operation_id="predict",
        summary="Predict whether a user buys a product",
    )
    add(
        "/predict/batch",
        handlers.predict_batch,
        decoder.batch,
        BatchResponse,
        operation_id="predictBatch",
        summary="Predict for several users and products",
    )
    add(
        "/rank",
        handlers.rank,
        decoder.rank,
        RankResponse,
        operation_id="rank",
        summary="Rank products for a user",
    )
    router = APIRouter(route_class=endpoint_route(context))

    @router.get(
        "/users/{user_id:opaque}/buy-again",
        operation_id="buyAgain",
        tags=["predictions"],
        summary="Rank the products that a user bought before",
        response_class=Response,
        responses={
            200: {"content": json_content(RankResponse.__name__)},
            **problem_responses(*PREDICTION_PROBLEMS, NO_PRODUCT_LIST),
        },
    )
    async def buy_again(
        request: Request,
        user_id: Annotated[PathIdentifier, Path(examples=["u-1042"])],
        limit: Annotated[
            int, Query(ge=1, le=1_000, description="Maximum length of the list.", examples=[20])
        ] = 20,
        explain: Annotated[
            Literal["all", "contributions"] | None,
            Query(description=_EXPLAIN["description"], examples=["all"]),
        ] = None,
        horizon: Annotated[
            str | None, Query(description=_HORIZON["description"], examples=[_HORIZON["example"]])
        ] = None,
    ) -> Response:
        query = _Query(explain or "", None if horizon is None else _parse_horizon(horizon))
        body = await handlers.buy_again(request.scope, user_id, limit, query)
        return Response(body, media_type="application/json")

    app.include_router(router)


class _PredictHandlers:
    def __init__(self, context: PredictorContext, decoder: RequestDecoder) -> None:
        self._context = context
        self._router = context.router
        self._decoder = decoder
        self._service = context.service
        self._prediction_log = context.prediction_log
        self._logs_ids = context.settings.access_log == "ids"
        self._observe_validate = context.metrics.stage("validate")
        self._observe_encode = context.metrics.stage("encode")

    async def predict(self, scope: Scope, body: bytes) -> bytes:
        with self._context.single_admission:
            start = time.perf_counter()
            query = _parse_query(given) if (given := scope["query_string"]) else _NO_QUERY
            request = self._decoder.decode(body)
            given_id = request.user_id
            request = self._stored(request)
            if self._logs_ids:
                note_ids(scope, user_id=request.user_id, product_id=request.product_id)
            self._observe_validate(time.perf_counter() - start)
            trace_id = _trace_id(scope)
            prediction = await self._service.predict(self._table(query), request, trace_id)
            start = time.perf_counter()
            response = await _encoded(partial(_response, prediction, query, given_id), query)
            self._observe_encode(time.perf_counter() - start)
            if self._prediction_log is not None:
                self._prediction_log.append(request, prediction, trace_id)
            return response

    async def predict_batch(self, scope: Scope, body: bytes) -> bytes:
        with self._context.batch_admission:
            start = time.perf_counter()
            query = _parse_query(given) if (given := scope["query_string"]) else _NO_QUERY
            batch = self._decoder.decode_batch(body)
            _check_explained("requests", len(batch), query)
            stored = list(map(self._stored, batch.requests))
            charge(scope, len(batch))
            self._observe_validate(time.perf_counter() - start)
            trace_id = _trace_id(scope)
            prediction = await self._service.predict_batch(self._table(query), stored, trace_id)
            start = time.perf_counter()
            response = await _encoded(partial(self._batch_response, batch, prediction, query), query)
            self._observe_encode(time.perf_counter() - start)
            if self._prediction_log is not None:
                self._prediction_log.append_batch(stored, prediction, trace_id)
            return response

    async def rank(self, scope: Scope, body: bytes) -> bytes:
        with self._context.batch_admission:
            start = time.perf_counter()
            query = _parse_query(given) if (given := scope["query_string"]) else _NO_QUERY
            request = self._decoder.decode_rank(body)
            _check_explained("product_ids", len(request.product_ids), query)
            self._observe_validate(time.perf_counter() - start)
            stored_id = self._context.stored_id(request.user_id)
            return await self._ranked(scope, self._table(query), request, stored_id, query)

    async def buy_again(self, scope: Scope, user_id: str, limit: int, query: _Query) -> bytes:
        with self._context.batch_admission:
            _check_explained("limit", limit, query)
            table, stored_id = self._table(query), self._context.stored_id(user_id)
            products = await self._service.purchased_products(table.arm_of(stored_id).model, stored_id)
            return await self._ranked(scope, table, RankRequest(user_id, products), stored_id, query, limit)

    async def _ranked(
        self,
        scope: Scope,
        table: RoutingTable,
        request: RankRequest,
        stored_id: str,
        query: _Query,
        limit: int | None = None,
    ) -> bytes:
        """Return the products by falling probability; of equal ones the first given comes first."""
        if self._logs_ids:
            note_ids(scope, user_id=stored_id)
        products = request.product_ids
        charge(scope, len(products))
        trace_id = _trace_id(scope)
        stored = [PredictionRequest(stored_id, product_id) for product_id in products]
        prediction = await self._service.predict_batch(table, stored, trace_id)
        start = time.perf_counter()
        order = prediction.ranking(len(products))[:limit]
        shown = prediction.at(set(order))
        given = [PredictionRequest(request.user_id, product_id) for product_id in products]

        def build() -> BatchResponse:
            response = self._batch_response(DecodedBatch(given, range(len(given)), {}), shown, query)
            results = response["results"]
            for position, timing in _timings(shown).items():
                if "probability" in results[position]:
                    results[position].update(timing)
            ranked = sorted((results[at] for at in order), key=lambda each: "probability" not in each)
            return {**response, "results": ranked}

        body = await _encoded(build, query)
        self._observe_encode(time.perf_counter() - start)
        if self._prediction_log is not None:
            self._prediction_log.append_batch(stored, shown, trace_id)
        return body

    def _table(self, query: _Query) -> RoutingTable:
        table = self._router.table
        return table if query.horizon is None else table.at_horizon(query.horizon)

    def _stored(self, request: PredictionRequest) -> PredictionRequest:
        """Return a request with the id under which its user is stored."""
        stored_id = self._context.stored_id(request.user_id)
        if stored_id is request.user_id:
            return request
        return msgspec.structs.replace(request, user_id=stored_id)

    def _batch_response(
        self, batch: DecodedBatch, prediction: BatchPrediction, query: _Query
    ) -> BatchResponse:
        """Return the response to a batch, whose requests have the user ids that were given."""
        results: list[Any] = [None] * len(batch)
        problems = dict(batch.problems)
        positions, given_ids = batch.positions, [request.user_id for request in batch.requests]
        retry_seconds = self._context.settings.retry_after_seconds
        for block in prediction.blocks:
            try:
                responses = _block_responses(block, query, [given_ids[at] for at in block.positions])
            except NoExplanationError as error:
                problems |= {positions[at]: problem_of(error, retry_seconds) for at in block.positions}
                continue
            for at, response in zip(block.positions, responses, strict=True):
                results[positions[at]] = response
        for at, outcome in prediction.outcomes.items():
            try:
                if isinstance(outcome, Prediction):
                    results[positions[at]] = _response(outcome, query, given_ids[at])
                else:
                    problems[positions[at]] = problem_of(outcome, retry_seconds)
            except NoExplanationError as error:
                problems[positions[at]] = problem_of(error, retry_seconds)
        for position, problem in problems.items():
            results[position] = {"index": position, **problem.document()}
        return {"results": results, "failed": len(problems)}


def _check_explained(field: str, count: int, query: _Query) -> None:
    if query.explain == CONTRIBUTIONS and count > MAX_EXPLAINED:
        message = f"Expected at most {MAX_EXPLAINED} with explain=contributions"
        raise invalid_request([FieldProblem(field=field, message=message)])


async def _encoded(build: Callable[[], Any], query: _Query) -> bytes:
    """Return a response as JSON. Contributions take milliseconds, so a thread computes them."""
    return orjson.dumps(await asyncio.to_thread(build) if query.explain == CONTRIBUTIONS else build())


def _trace_id(scope: Scope) -> str | None:
    trace: Trace | None = scope.get(TRACE)
    return trace.trace_id if trace else None


def _parse_query(query: bytes) -> _Query:
    """Return what to explain and the horizon; of several values the last one."""
    found = _NO_QUERY
    faults: list[FieldProblem] = []
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name == "horizon":
            found = found._replace(horizon=_parse_horizon(value))
        elif (name, value) in _EXPLANATIONS:
            found = found._replace(explain=value)
        else:
            message = "Expected all or contributions" if name == "explain" else "Unknown query parameter"
            faults.append(FieldProblem(field=name, message=message, value=value))
    if faults:
        raise invalid_request(faults)
    return found


def _parse_horizon(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except InvalidDurationError as error:
        raise invalid_request([FieldProblem(field="horizon", message=str(error), value=text)]) from None


def _response(prediction: Prediction, query: _Query, user_id: str) -> PredictionResponse:
    """Return a prediction, with what is to be explained; NaN becomes null when encoded."""
    model = prediction.model
    probability = prediction.probability
    predicted, confidence, threshold = model.verdicts.of(probability, prediction.inputs)
    required = zip(REQUIRED_INPUTS, prediction.required_inputs, strict=True)
    user, product, pair = prediction.known
    response: PredictionResponse = {
        "prediction": int(predicted),
        "probability": probability,
        "confidence": confidence,
        "threshold": threshold,
        "user_id": user_id,
        "product_id": prediction.product_id,
        "features_used": prediction.inputs_by_name() if query.explain == "all" else dict(required),
        "model_version": model.digest,
        "arm": prediction.arm.name,
        "timestamp": _format_timestamp(prediction.timestamp_us),
        "known": {"user": user, "product": product, "pair": pair},
    }
    if (seconds := query.horizon_seconds) is not None:
        response["horizon_seconds"] = seconds
    if query.explain == CONTRIBUTIONS:
        (response["contributions"],) = _contributions(model, np.array([prediction.inputs], np.float64))
    return response


def _timings(prediction: BatchPrediction) -> dict[int, dict[str, str | float | None]]:
    """Return the last purchase, and in how many days the next is due, by the position of the request."""
    rows = [
        (block.positions, block.arm.model, block.inputs, block.timestamps_us) for block in prediction.blocks
    ]
    rows += [
        ([at], each.model, np.array([each.inputs], np.float64), [each.timestamp_us])
        for at, each in prediction.outcomes.items()
        if isinstance(each, Prediction)
    ]
    timings: dict[int, dict[str, str | float | None]] = {}
    for positions, model, inputs, timestamps_us in rows:
        at = {name: column for column, name in enumerate(model.plan.input_names)}
        since, own, usual = (
            inputs[:, at[name]] if name in at else np.full(len(inputs), np.nan) for name in _TIMING_INPUTS
        )
        due = np.where(own > 0, own, usual) - since
        lasts = np.array(timestamps_us) - since * MICROSECONDS_PER_DAY
        for position, last_us, days in zip(positions, lasts.tolist(), due.tolist(), strict=True):
            timings[position] = {
                "last_purchase": None if math.isnan(last_us) else format_timestamp(round(last_us)),
                "due_in_days": days,  # orjson writes NaN as null
            }
    return timings


def _block_responses(
    block: PredictionBlock, query: _Query, user_ids: Sequence[str]
) -> list[PredictionResponse]:
    arm, model = block.arm.name, block.arm.model
    probabilities = block.probabilities.astype(np.float64)
    verdicts = model.verdicts.of_block(probabilities, block.inputs)
    kinds = (block.known * _KNOWN_WEIGHTS[:, None]).sum(axis=0).tolist()
    digest = model.digest
    responses: list[PredictionResponse] = [
        {
            "prediction": int(predicted),
            "probability": probability,
            "confidence": confidence,
            "threshold": threshold,
            "user_id": user_id,
            "product_id": request.product_id,
            "features_used": features,
            "model_version": digest,
            "arm": arm,
            "timestamp": _format_timestamp(timestamp_us),
            "known": _KNOWN[kind],
        }
        for user_id, request, probability, predicted, confidence, threshold, features, timestamp_us, kind in zip(
            user_ids,
            block.requests,
            probabilities.tolist(),
            *verdicts,
            _features(block, query.explain),
            block.timestamps_us,
            kinds,
            strict=True,
        )
    ]
    if (seconds := query.horizon_seconds) is not None:
        for response in responses:
            response["horizon_seconds"] = seconds
    if query.explain == CONTRIBUTIONS:
        for response, found in zip(responses, _contributions(model, block.inputs), strict=True):
            response["contributions"] = found
    return responses


def _contributions(model: LoadedModel, inputs: NDArray[np.float64]) -> list[Contributions]:
    base, added = model.explainer.contributions(inputs)
    order = np.argsort(-np.abs(added), axis=1, kind="stable")[:, :_TOP].tolist()
    explained: list[Contributions] = []
    for values, row, positions in zip(inputs.tolist(), added.tolist(), order, strict=True):
        columns = [(model.plan.inputs[at], values[at], row[at]) for at in positions]
        total, shown = sum(row), sum(row[at] for at in positions)
        explained.append(
            {
                "base": base,
                "votes": base + total,
                "top": [
                    {
                        "name": column.name,
                        "value": value,
                        "contribution": amount,
                        "description": column.description,
                        "unit": column.unit,
                    }
                    for column, value, amount in columns
                ],
                "others": total - shown,
            }
        )
    return explained


def _features(block: PredictionBlock, explain: str) -> list[dict[str, float]]:
    if explain == "all":
        names = block.arm.model.plan.input_names
        return [dict(zip(names, values, strict=True)) for values in block.inputs.tolist()]
    # Making Python floats is most of the work, so only the inputs that are shown are converted.
    one, two, three, four = REQUIRED_INPUTS
    required = block.inputs[:, block.arm.model.required_positions].tolist()
    return [{one: a, two: b, three: c, four: d} for a, b, c, d in required]
