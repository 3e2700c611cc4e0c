"""The FastAPI application that every service starts from."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from html import escape
from pathlib import Path

import fastapi_offline
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Gauge
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from reprise.http.metrics import LoopHistogram, installed_version
from reprise.http.middleware.access_log import AccessLog
from reprise.http.middleware.authentication import (
    DOCS_PATH,
    Authentication,
    AuthenticationMiddleware,
    is_protected,
)
from reprise.http.middleware.base import BaseMiddleware
from reprise.http.middleware.fast_path import FastPathMiddleware
from reprise.http.middleware.root_path import RootPathMiddleware
from reprise.http.openapi import document_problems
from reprise.http.operations import Readiness, health_router, metrics_router
from reprise.http.problems import add_problem_handlers
from reprise.http.server import is_draining
from reprise.http.tracing.factory import Tracing
from reprise.runtime.worker_threads import WorkerThreads

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
_REQUEST_BOUNDS = (
    *(5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)

# Addresses are relative, so that they hold below a root path; a script in the page would need a weaker policy.
_DOCS_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
<link rel="icon" href="docs/assets/favicon.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_DOCS_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});
"""


def create_http_app(
    *,
    title: str,
    description: str,
    registry: CollectorRegistry,
    readiness: Readiness,
    lifespan: Lifespan | None = None,
    workers: WorkerThreads | None = None,
    max_body_bytes: int = 1024 * 1024,
    serve_metrics: bool = True,
    authentication: Authentication | None = None,
    access_log: AccessLog | None = None,
    tracing: Tracing | None = None,
    page_policies: Mapping[str, str] | None = None,
    docs: bool = True,
    root_path: str = "",
) -> FastAPI:
    """Return an application with health, metrics, documentation and problem documents.

    Args:
        title: Title of the API in its documentation.
        description: What the API is for, in Markdown.
        registry: The service's metrics.
        readiness: Why the process should not get requests; draining is added here.
        lifespan: Opened before the first request and closed after the last.
        workers: Threads that run from the application's start to its end.
        max_body_bytes: Maximum size of a body.
        serve_metrics: Whether this application serves ``/metrics``.
        authentication: The accepted API keys; absent, no key is required.
        access_log: Logs each request.
        tracing: Makes spans of requests; closed after the application.
        page_policies: The content security policy of each path that is a page for people.
        docs: Whether the application serves ``/docs`` and ``/openapi.json``.
        root_path: Path below which a proxy serves the application; empty if there is none.
    """

    @asynccontextmanager
    async def whole_lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if tracing is not None:
                stack.push_async_callback(tracing.close)
            if authentication is not None:
                await stack.enter_async_context(authentication.keys.kept_fresh())
            if lifespan is not None:
                await stack.enter_async_context(lifespan(app))
            if workers is not None:
                stack.enter_context(workers.running())
            yield

    app = FastAPI(
        title=title,
        version=installed_version(),
        description=description,
        lifespan=whole_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if docs else None,
        redirect_slashes=False,
        servers=[{"url": root_path}] if root_path else None,
        # Even unused, FastAPI's telemetry looks up three OpenTelemetry providers for each request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )

    def reasons() -> list[str]:
        return ["the process is shutting down"] if is_draining(app) else list(readiness())

    add_problem_handlers(app)
    document_problems(app, None if authentication is None else is_protected)
    app.state.fast_routes = {}
    app.state.workers = workers
    app.state.schemas = {}
    # The middleware that is added last is the outermost.
    app.add_middleware(FastPathMiddleware, routes=app.state.fast_routes)
    if authentication is not None:
        app.add_middleware(AuthenticationMiddleware, authentication=authentication, registry=registry)
    durations = LoopHistogram(
        "reprise_http_request_seconds",
        "Duration of requests from the head to the end of the response, by status (gone: the client left before);"
        " probes and scrapes are not counted.",
        ("status",),
        _REQUEST_BOUNDS,
        registry,
    )
    app.add_middleware(
        BaseMiddleware,
        max_body_bytes=max_body_bytes,
        access_log=access_log,
        durations=durations,
        page_policies=page_policies,
    )
    if tracing is not None:
        app.add_middleware(tracing.middleware)
    if root_path:
        app.add_middleware(RootPathMiddleware, root_path=root_path)
    ready = Gauge("reprise_ready", "1 if /ready succeeds, else 0.", registry=registry)
    ready.set_function(lambda: float(not reasons()))
    if docs:
        _add_docs(app)
    app.include_router(health_router(reasons))
    if serve_metrics:
        app.include_router(metrics_router(registry))
    return app


def _add_docs(app: FastAPI) -> None:
    """Serve Swagger UI at ``/docs`` from the assets of a package, without another host."""

    async def page() -> Response:
        return Response(_DOCS_PAGE.format(title=escape(app.title)), media_type="text/html")

    async def start() -> Response:
        return Response(_DOCS_START, media_type="text/javascript")

    assets = Path(fastapi_offline.__file__).parent / "static"
    app.mount(f"{DOCS_PATH}/assets", StaticFiles(directory=assets))
    app.add_api_route(DOCS_PATH, page, include_in_schema=False)
    app.add_api_route(f"{DOCS_PATH}/start.js", start, include_in_schema=False)
