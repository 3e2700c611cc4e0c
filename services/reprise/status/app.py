"""The status page's HTTP application, and the poller behind it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import get_args

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.responses import HTMLResponse, Response

from reprise.http.app import create_http_app
from reprise.http.metrics import process_registry
from reprise.http.problems import NOT_FOUND, NOT_READY, ProblemError, retry_after
from reprise.runtime.logs import get_logger
from reprise.runtime.signals import terminate_process
from reprise.runtime.worker_threads import WorkerThreads
from reprise.status.analysis.history import History
from reprise.status.analysis.report_builder import build_report
from reprise.status.nightly_report import ReportReader
from reprise.status.page import (
    CONTENT_SECURITY_POLICY,
    REPORT_POLICY,
    REPORT_TAB_POLICY,
    render,
    render_report_tab,
    render_waiting,
)
from reprise.status.report import Level, Report
from reprise.status.scrape.scraper import Resolve, Scraper, resolve
from reprise.status.scrape.snapshot import Snapshot
from reprise.status.settings import StatusSettings

DISTRIBUTION = "reprise-status"
PAGES = ("/", "/status")
"""Addresses of the page: its own, and behind an Ingress that routes other paths elsewhere."""
REPORT_TAB, REPORT_PAGE = "/status/report", "/status/report.html"

_log = get_logger(__name__)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class StatusMetrics:
    """The metrics in one registry; ``seconds`` and ``polled`` are duration and end of polls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.scrapes = Counter(
            "reprise_status_scrapes",
            "Scrapes of processes, by service and outcome: answered, failed.",
            ("service", "outcome"),
            registry=registry,
        )
        self.seconds = Histogram(
            "reprise_status_look_seconds",
            "Duration of a poll of every process.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.polled = Gauge(
            "reprise_status_look_timestamp_seconds", "Time when the latest poll ended.", registry=registry
        )
        self._level = Gauge(
            "reprise_status_verdict",
            "1 for the level of the platform: good, watch (needs attention), bad.",
            ("level",),
            registry=registry,
        )

    def set_level(self, level: str) -> None:
        """Set the level of the platform."""
        for each in get_args(Level):
            self._level.labels(each).set(each == level)


class Poller:
    """Takes snapshots at fixed intervals, and has the latest report.

    ``on_failure`` is called if polling fails: the page would otherwise show the same report for ever. ``clock`` returns
    monotonic seconds.
    """

    def __init__(
        self,
        scrape: Callable[[], Awaitable[Snapshot]],
        settings: StatusSettings,
        metrics: StatusMetrics,
        on_failure: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scrape = scrape
        self._settings = settings
        self._metrics = metrics
        self._on_failure = on_failure
        self._clock = clock
        self._history = History(max(2, round(settings.history_seconds / settings.interval_seconds)))
        self.failed = False
        self.report: Report | None = None

    def reasons_not_ready(self) -> list[str]:
        """Return why there is no current report."""
        if self.failed:
            return ["polling the services has failed"]
        return [] if self.report is not None else ["the first poll of the services is not over"]

    async def poll(self) -> None:
        """Take one snapshot and build its report."""
        started = self._clock()
        snapshot = await self._scrape()
        now = self._clock()
        self._history.add(now, snapshot)
        report = build_report(snapshot, self._history, self._settings.title, self._settings.interval_seconds)
        if self.report is None or report.verdict.sentence != self.report.verdict.sentence:
            _log.info("verdict", level=report.verdict.level, sentence=report.verdict.sentence)
        self.report = report
        self._metrics.set_level(report.verdict.level)
        self._metrics.seconds.observe(now - started)
        self._metrics.polled.set(snapshot.at)

    async def run(self) -> None:
        """Poll until cancelled; a poll that takes longer than the interval delays the next."""
        due = self._clock()
        try:
            while True:
                await self.poll()
                now = self._clock()
                due = max(due + self._settings.interval_seconds, now)
                await asyncio.sleep(due - now)
        except Exception as error:
            self.failed = True
            _log.critical("watch_failed", exc_info=error)
            self._on_failure()
            raise


def create_app(
    settings: StatusSettings,
    resolver: Resolve = resolve,
    on_failure: Callable[[], None] = terminate_process,
) -> FastAPI:
    """Return the application, which polls the services while it runs; its state has the ``poller``."""
    metrics = StatusMetrics(process_registry(DISTRIBUTION))
    client = httpx.AsyncClient(
        trust_env=False, timeout=settings.timeout_seconds, headers={"user-agent": DISTRIBUTION}
    )
    poller = Poller(
        Scraper(client, settings, resolver, metrics.scrapes).scrape, settings, metrics, on_failure
    )
    reader = (
        None if settings.scores is None else ReportReader(settings.scores, settings.report_interval_seconds)
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with client:
            polling = asyncio.create_task(poller.run())
            yield
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)

    app = create_http_app(
        title="Reprise status",
        description="What runs, how well, and what is wrong.",
        registry=metrics.registry,
        docs=settings.api_docs,
        root_path=settings.api_root_path,
        readiness=poller.reasons_not_ready,
        lifespan=lifespan,
        # A read of a store that hangs is left behind.
        workers=WorkerThreads({"report": reader.run} if reader else {}, 1.0, on_failure),
        max_body_bytes=1024,
        page_policies={
            **dict.fromkeys(PAGES, CONTENT_SECURITY_POLICY),
            REPORT_TAB: REPORT_TAB_POLICY,
            REPORT_PAGE: REPORT_POLICY,
        },
    )
    app.state.poller = poller
    _add_pages(app, poller, settings, has_report=reader is not None)
    if reader is not None:
        _add_report(app, reader, settings)
    return app


def _add_report(app: FastAPI, reader: ReportReader, settings: StatusSettings) -> None:
    @app.get(REPORT_TAB, include_in_schema=False)
    async def tab() -> HTMLResponse:
        page = render_report_tab(reader, settings.report_command, settings.title, settings.api_root_path)
        return HTMLResponse(page)

    @app.get(REPORT_PAGE, include_in_schema=False)
    async def report() -> HTMLResponse:
        page = reader.latest.page
        if page is None:
            raise ProblemError(NOT_FOUND, f"No report has been read; {REPORT_TAB} says why.")
        return HTMLResponse(page)


def _add_pages(app: FastAPI, poller: Poller, settings: StatusSettings, *, has_report: bool) -> None:
    async def page() -> HTMLResponse:
        if poller.report is None:
            return HTMLResponse(render_waiting(), status_code=503, headers=retry_after(1))
        root_path = settings.api_root_path
        return HTMLResponse(render(poller.report, settings.documentation, root_path, has_report=has_report))

    for path in PAGES:
        app.get(path, include_in_schema=False)(page)

    @app.get("/status.json", summary="The content of the page", tags=["status"])
    async def as_json() -> Response:
        if poller.report is None:
            raise ProblemError(NOT_READY, "; ".join(poller.reasons_not_ready()), headers=retry_after(1))
        return Response(poller.report.model_dump_json(), media_type="application/json")
