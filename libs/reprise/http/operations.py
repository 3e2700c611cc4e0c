"""The endpoints of probes and scrapes: ``/health``, ``/ready`` and ``/metrics``."""

from collections.abc import Callable, Sequence

from fastapi import APIRouter
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from starlette.responses import Response

from reprise.http.openapi import problem_responses
from reprise.http.problems import NOT_READY, ProblemError, retry_after

Readiness = Callable[[], Sequence[str]]
"""Returns why the process should not get requests; empty if it should."""

OPERATIONS_PATHS = frozenset(("/health", "/ready", "/metrics"))
"""These paths are not counted as requests."""

_EXAMPLE = """# HELP reprise_build_info Always 1; the labels are component and versions.
# TYPE reprise_build_info gauge
reprise_build_info{package="reprise-predictor",python="3.11.9",version="0.1.0"} 1.0
"""
_EXPOSITION = {"schema": {"type": "string"}, "example": _EXAMPLE}


class Health(BaseModel):
    """The process lives."""

    status: str = Field(description="Always ``ok``.", examples=["ok"])


class Ready(BaseModel):
    """The process takes requests."""

    status: str = Field(description="Always ``ready``.", examples=["ready"])


def health_router(readiness: Readiness) -> APIRouter:
    """Return ``/health`` and ``/ready``, for GET and HEAD.

    Liveness depends on nothing outside the process: a restart would not bring a dependency back.
    """
    router = APIRouter(tags=["operations"])

    @router.head("/health", summary="Whether the process lives, without a body")
    @router.get("/health", summary="Whether the process lives")
    async def health() -> Health:
        return Health(status="ok")

    @router.head(
        "/ready",
        summary="Whether the process takes requests, without a body",
        responses=problem_responses(NOT_READY),
    )
    @router.get(
        "/ready", summary="Whether the process takes requests", responses=problem_responses(NOT_READY)
    )
    async def ready() -> Ready:
        if reasons := readiness():
            raise ProblemError(NOT_READY, "; ".join(reasons), headers=retry_after(1))
        return Ready(status="ready")

    return router


def metrics_router(registry: CollectorRegistry) -> APIRouter:
    """Return ``GET /metrics``."""
    router = APIRouter(tags=["operations"])

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses={200: {"description": "Text exposition format", "content": {"text/plain": _EXPOSITION}}},
    )
    async def metrics() -> Response:
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    return router
