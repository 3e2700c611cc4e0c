"""Liveness and readiness."""

from collections.abc import Callable, Sequence

from fastapi import APIRouter
from pydantic import BaseModel, Field

from reprise.http.openapi import problem_responses
from reprise.http.problems import NOT_READY, ProblemError, retry_after

Readiness = Callable[[], Sequence[str]]
"""Returns why the process should not get requests; empty if it should."""

OPERATIONS_PATHS = frozenset(("/health", "/ready", "/metrics"))
"""Paths of probes and scrapes, which are not counted as requests."""


class Health(BaseModel):
    """The process lives."""

    status: str = Field(description="Always ``ok``.", examples=["ok"])


class Ready(BaseModel):
    """The process takes requests."""

    status: str = Field(description="Always ``ready``.", examples=["ready"])


def health_router(readiness: Readiness) -> APIRouter:
    """Return ``GET /health`` and ``GET /ready``.

    Liveness depends on nothing outside the process: a restart would not bring a dependency back.
    """
    router = APIRouter(tags=["operations"])

    @router.get("/health", summary="Whether the process lives")
    async def health() -> Health:
        return Health(status="ok")

    @router.get(
        "/ready", summary="Whether the process takes requests", responses=problem_responses(NOT_READY)
    )
    async def ready() -> Ready:
        reasons = readiness()
        if reasons:
            raise ProblemError(NOT_READY, "; ".join(reasons), headers=retry_after(1))
        return Ready(status="ready")

    return router
