"""``GET /routing``, for the operator of rollouts."""

from fastapi import APIRouter

from reprise.predictor.models import examples
from reprise.predictor.services.model_router import Routing
from reprise.routing import RoutingReport


def routing_router(routing: Routing) -> APIRouter:
    """Return ``GET /routing``; it belongs beside the metrics, since it tells of every model there is."""
    router = APIRouter(tags=["operations"])

    @router.get(
        "/routing",
        operation_id="routing",
        summary="The routing document that is applied, and how its arms stand",
        responses={200: {"content": {"application/json": {"example": examples.ROUTING}}}},
    )
    async def report() -> RoutingReport:
        return routing.report()

    return router
