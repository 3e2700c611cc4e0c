"""``GET /model/info`` and ``GET /features/{user_id}``."""

import math
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.routing import APIRoute
from starlette.convertors import PathConvertor, register_url_convertor

from reprise.events import format_timestamp
from reprise.http.openapi import problem_responses
from reprise.http.problems import INVALID_REQUEST
from reprise.predictor.context import PredictorContext
from reprise.predictor.handlers.request_metrics import counted_route
from reprise.predictor.handlers.responses import (
    EXPECTED_ERRORS,
    NO_MODEL,
    OVERLOADED,
    STORE_UNAVAILABLE,
    UNREADABLE_STATE,
    model_info,
    problem_of,
)
from reprise.predictor.models.api import FeaturesResponse, Identifier, ModelInfo


class _Opaque(PathConvertor):
    """Any text, line breaks included, which the router's own ``path`` leaves out."""

    regex = "(?s:.*)"


register_url_convertor("opaque", _Opaque())


def model_router(context: PredictorContext, route: type[APIRoute] = APIRoute) -> APIRouter:
    """Return the address that tells of the model.

    Args:
        context: Of the process.
        route: The class of the route; whoever looks at the metrics' port is not to be counted among the callers.
    """
    router = APIRouter(route_class=route)

    @router.get(
        "/model/info",
        operation_id="modelInfo",
        tags=["model"],
        summary="What is known of the model that answers",
        responses=problem_responses(NO_MODEL),
    )
    async def info() -> ModelInfo:
        try:
            return model_info(context.routing.current.baseline.model, context.models.refusal)
        except EXPECTED_ERRORS as error:
            raise problem_of(error, context.settings.retry_after_seconds) from error

    return router


def info_router(context: PredictorContext) -> APIRouter:
    """Return the addresses that tell of the model and of the features."""
    counted = counted_route(context.metrics)
    router = APIRouter(route_class=counted)
    router.include_router(model_router(context, counted))

    @router.get(
        "/features/{user_id:opaque}",
        operation_id="features",
        tags=["features"],
        summary="The features of a user, or of a user and a product, now",
        responses=problem_responses(
            INVALID_REQUEST, UNREADABLE_STATE, STORE_UNAVAILABLE, NO_MODEL, OVERLOADED
        ),
    )
    async def features(
        user_id: Annotated[Identifier, Path(examples=["u-1042"])],
        product_id: Annotated[Identifier | None, Query(examples=["p-17"])] = None,
    ) -> FeaturesResponse:
        try:
            with context.singles:
                model = context.routing.current.arm(user_id).model
                values, known, now = await context.service.features(model, user_id, product_id)
        except EXPECTED_ERRORS as error:
            raise problem_of(error, context.settings.retry_after_seconds) from error
        return FeaturesResponse(
            user_id=user_id,
            product_id=product_id,
            features={name: None if math.isnan(value) else value for name, value in values.items()},
            known=known,
            model_version=model.digest,
            timestamp=format_timestamp(now),
        )

    return router
