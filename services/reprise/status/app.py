"""The status page's HTTP application."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from starlette.responses import HTMLResponse, Response

from reprise.http.app import create_http_app
from reprise.http.background import end_process
from reprise.http.metrics import installed_version, process_registry
from reprise.http.problems import NOT_READY, ProblemError, retry_after
from reprise.status.analysis.report_builder import Frame
from reprise.status.metrics import StatusMetrics
from reprise.status.page import CONTENT_SECURITY_POLICY, render, render_waiting
from reprise.status.poller import Watch
from reprise.status.scrape.scraper import Scraper
from reprise.status.scrape.targets import Resolve, resolve
from reprise.status.settings import StatusSettings

DISTRIBUTION = "reprise-status"
PAGES = ("/", "/status")
"""Where the page is: by itself, and behind an Ingress that leads other paths elsewhere."""


def create_app(
    settings: StatusSettings, find: Resolve = resolve, on_failure: Callable[[], None] = end_process
) -> FastAPI:
    """Return the application; its lifespan looks at the services.

    Args:
        settings: The configuration.
        find: Finds the addresses of a host.
        on_failure: Is called when looking fails for a reason of our own: then the page would stand still for ever.
    """
    metrics = StatusMetrics(process_registry(DISTRIBUTION))
    client = httpx.AsyncClient(
        trust_env=False, timeout=settings.timeout_seconds, headers={"user-agent": DISTRIBUTION}
    )
    scraper = Scraper(
        client, settings.timeout_seconds, settings.targets, find, settings.pushgateway_url, metrics
    )
    frame = Frame(settings.title, settings.interval_seconds)
    watch = Watch(scraper.look, settings.looks_kept, frame, metrics)

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            app.state.failed = True
            on_failure()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with client:
            looking = asyncio.create_task(watch.keep_looking())
            looking.add_done_callback(ended)
            yield
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    app = create_http_app(
        title="Reprise status",
        version=installed_version(),
        description="What runs, what it measures, and what is wrong with it.",
        registry=metrics.registry,
        readiness=watch.reasons_not_ready,
        lifespan=lifespan,
        max_body_bytes=1024,
        page_policies=dict.fromkeys(PAGES, CONTENT_SECURITY_POLICY),
    )
    app.state.failed = False
    _add_pages(app, watch, settings.documentation)
    return app


def _add_pages(app: FastAPI, watch: Watch, documentation: str) -> None:
    async def page() -> HTMLResponse:
        if watch.report is None:
            return HTMLResponse(render_waiting(), status_code=503, headers=retry_after(1))
        return HTMLResponse(render(watch.report, documentation))

    for path in PAGES:
        app.get(path, include_in_schema=False)(page)

    @app.get("/status.json", summary="What the page tells", tags=["status"])
    async def as_json() -> Response:
        if watch.report is None:
            raise ProblemError(NOT_READY, "; ".join(watch.reasons_not_ready()), headers=retry_after(1))
        return Response(watch.report.model_dump_json(), media_type="application/json")
