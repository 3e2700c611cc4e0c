"""``GET /features/{user_id}``, ``GET /model/info``, and ``GET /routing`` for the rollout operator."""

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
from reprise.predictor.exceptions import NoModelError
from reprise.predictor.handlers.endpoint import (
    NO_MODEL,
    OVERLOADED,
    STORE_UNAVAILABLE,
    UNREADABLE_STATE,
    problem_of,
)
from reprise.predictor.models.api import (
    ID_DESCRIPTION,
    ID_PATTERN,
    FeatureInfo,
    FeaturesResponse,
    ModelInfo,
    RefusedModel,
)
from reprise.predictor.models.loaded_model import LoadedModel
from reprise.predictor.services.model_router import ModelRouter
from reprise.routing import RoutingReport

_NO_IMPORTANCE = {"impurity_importance": None, "permutation_importance": None}
_FROM_MANIFEST = (
    *("threshold", "verdicts", "horizon_seconds", "horizons", "plan_hash", "schema_hash", "evaluation"),
    *("data", "parity", "parameters", "libraries"),
)
_BASELINE = {"name": "baseline", "digest": "sha256:" + "01" * 32, "weight": 9000, "shadow": False}
_CANDIDATE = {"name": "deeper", "digest": "sha256:" + "ab" * 32, "weight": 1000, "shadow": False}
_ROUTING = {
    "schema_version": 1,
    "generation": 7,
    "fingerprint": "3f786850e387550f",
    "rollout": "reprise/repeat-purchase",
    "arms": [
        {**_BASELINE, "state": "loaded", "reason": None},
        {**_CANDIDATE, "state": "failed", "reason": "BundleNotFoundError: the store has no such bundle"},
    ],
    "refused": None,
}
PathIdentifier = Annotated[
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
        user_id: Annotated[PathIdentifier, Path(examples=["u-1042"])],
        product_id: Annotated[PathIdentifier | None, Query(examples=["p-17"])] = None,
    ) -> FeaturesResponse:
        with context.single_admission:
            stored_id = context.stored_id(user_id)
            model = context.router.table.arm_of(stored_id).model
            values, known, now_us = await context.service.features(model, stored_id, product_id)
        return FeaturesResponse(
            user_id=user_id,
            product_id=product_id,
            features={name: None if math.isnan(value) else value for name, value in values.items()},
            known=known,
            model_version=model.digest,
            timestamp=format_timestamp(now_us),
        )

    return router


def model_router(context: PredictorContext, route_class: type[APIRoute] = APIRoute) -> APIRouter:
    """Return ``GET /model/info``; the default class of route leaves it out of the metrics of requests."""
    router = APIRouter(route_class=route_class)

    @router.get(
        "/model/info",
        operation_id="modelInfo",
        tags=["model"],
        summary="The loaded model",
        responses=problem_responses(NO_MODEL),
    )
    async def info() -> ModelInfo:
        try:
            return _model_info(context.router.table.baseline.model, context.configured_model.refusal)
        except NoModelError as error:
            raise problem_of(error, context.settings.retry_after_seconds) from error

    return router


def routing_router(router: ModelRouter) -> APIRouter:
    """Return ``GET /routing``. It belongs on the metrics port, because it lists every model of a rollout."""
    routes = APIRouter(tags=["operations"])

    @routes.get(
        "/routing",
        operation_id="routing",
        summary="The applied routing document and the state of its arms",
        responses={200: {"content": {"application/json": {"example": _ROUTING}}}},
    )
    async def report() -> RoutingReport:
        return router.report()

    return routes


def _model_info(model: LoadedModel, refusal: RefusedModel | None) -> ModelInfo:
    manifest = model.bundle.manifest
    importances = {
        each.name: {"impurity_importance": each.impurity, "permutation_importance": each.permutation}
        for each in manifest.importances
    }
    return ModelInfo(
        **{name: getattr(manifest, name) for name in _FROM_MANIFEST},
        digest=model.digest,
        loaded_at=model.loaded_at,
        refused=refusal,
        features=[
            FeatureInfo(
                name=column.name,
                entity=column.entity,
                source=column.source,
                unit=column.unit,
                description=column.description,
                **importances.get(column.name, _NO_IMPORTANCE),
            )
            for column in model.plan.inputs
        ],
        training=dict(model.bundle.metadata),
    )
