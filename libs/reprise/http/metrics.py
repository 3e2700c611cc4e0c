"""The Prometheus registry of one process, and ``/metrics``."""

import platform
from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter
from prometheus_client import (
    CollectorRegistry,
    Gauge,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.gc_collector import GCCollector
from starlette.responses import Response

_EXAMPLE = """# HELP reprise_build_info Always 1; the labels are component and versions.
# TYPE reprise_build_info gauge
reprise_build_info{package="reprise-predictor",python="3.11.9",version="0.1.0"} 1.0
"""


def process_registry(distribution: str) -> CollectorRegistry:
    """Return a registry with the metrics of the process and ``reprise_build_info`` of a component.

    The component is named as in ``reprise-predictor``.
    """
    # Counters otherwise have a second series with their creation time.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    build = Gauge(
        "reprise_build_info",
        "Always 1; the labels are component and versions.",
        ("package", "version", "python"),
        registry=registry,
    )
    build.labels(distribution, installed_version(), platform.python_version()).set(1)
    return registry


def installed_version() -> str:
    """Return the installed version of Reprise, or ``unknown`` without an installed distribution."""
    try:
        return version("reprise")
    except PackageNotFoundError:
        return "unknown"


def metrics_router(registry: CollectorRegistry) -> APIRouter:
    """Return ``GET /metrics``."""
    router = APIRouter(tags=["operations"])

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses={
            200: {
                "description": "Text exposition format",
                "content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE}},
            }
        },
    )
    async def metrics() -> Response:
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    return router
