"""``GET /features/{user_id}``."""

import math
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.convertors import PathConvertor, register_url_convertor

from reprise.events import format_timestamp
from reprise.events.event import MAX_ID_LENGTH
from reprise.http.openapi import problem_responses
from reprise.http.problems import INVALID_REQUEST
from reprise.predictor.context import PredictorContext
from reprise.predictor.handlers.problems import (
    EXPECTED_ERRORS,
    NO_MODEL,
    OVERLOADED,
    STORE_UNAVAILABLE,
    UNREADABLE_STATE,
    problem_of,
)
from reprise.predictor.models.api import ID_DESCRIPTION, ID_PATTERN, FeaturesResponse

_Identifier = Annotated[
    str, Field(min_length=1, max_length=MAX_ID_LENGTH, pattern=ID_PATTERN, description=ID_DESCRIPTION)
]


class _OpaqueText(PathConvertor):
    """Any text including line breaks, which Starlette's ``path`` excludes."""

    regex = "(?s:.*)"


register_url_convertor("opaque", _OpaqueText())


def features_router(context: PredictorContext, route_class: type[APIRoute]) -> APIRouter:
    """Return ``GET /features/{user_id}``."""
    router = APIRouter(route_class=route_class)

    @router.get(
        "/features/{user_id:opaque}",
        operation_id="features",
        tags=["features"],
        summary="The present features of a user, or of a user and a product",
        responses=problem_responses(
            INVALID_REQUEST, UNREADABLE_STATE, STORE_UNAVAILABLE, NO_MODEL, OVERLOADED
        ),
    )
    async def features(
        user_id: Annotated[_Identifier, Path(examples=["u-1042"])],
        product_id: Annotated[_Identifier | None, Query(examples=["p-17"])] = None,
    ) -> FeaturesResponse:
        try:
            with context.single_admission:
                model = context.router.table.arm_of(user_id).model
                values, known, now_us = await context.service.features(model, user_id, product_id)
        except EXPECTED_ERRORS as error:
            raise problem_of(error, context.settings.retry_after_seconds) from error
        return FeaturesResponse(
            user_id=user_id,
            product_id=product_id,
            features={name: None if math.isnan(value) else value for name, value in values.items()},
            known=known,
            model_version=model.digest,
            timestamp=format_timestamp(now_us),
        )

    return router
