"""``GET /model/info``, and ``GET /routing`` for the rollout operator."""

from datetime import datetime

from fastapi import APIRouter
from fastapi.routing import APIRoute

from reprise.http.openapi import problem_responses
from reprise.predictor.context import PredictorContext
from reprise.predictor.exceptions import NoModelError
from reprise.predictor.handlers.problems import NO_MODEL, problem_of
from reprise.predictor.models.api import FeatureInfo, ModelInfo, RefusedModel
from reprise.predictor.models.loaded_model import LoadedModel
from reprise.predictor.services.model_cache import Refusal
from reprise.predictor.services.model_router import ModelRouter
from reprise.routing import RoutingReport

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


def _model_info(model: LoadedModel, refusal: Refusal | None) -> ModelInfo:
    manifest = model.bundle.manifest
    importances = {importance.name: importance for importance in manifest.importances}
    features = []
    for column in model.plan.inputs:
        importance = importances.get(column.name)
        features.append(
            FeatureInfo(
                name=column.name,
                entity=column.entity,
                source=column.source,
                unit=column.unit,
                description=column.description,
                impurity_importance=importance and importance.impurity,
                permutation_importance=importance and importance.permutation,
            )
        )
    return ModelInfo(
        digest=model.digest,
        loaded_at=_rfc3339(model.loaded_at),
        refused=refusal
        and RefusedModel(digest=refusal.digest, reason=refusal.reason, at=_rfc3339(refusal.at)),
        threshold=manifest.threshold,
        horizon_seconds=manifest.horizon_seconds,
        plan_hash=manifest.plan_hash,
        schema_hash=manifest.schema_hash,
        features=features,
        evaluation=manifest.evaluation,
        data=manifest.data,
        parity=manifest.parity,
        parameters=manifest.parameters,
        libraries=manifest.libraries,
        training=dict(model.bundle.metadata),
    )


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
