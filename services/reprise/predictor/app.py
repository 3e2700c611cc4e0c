"""The predictor's application."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from reprise.http.app import create_http_app
from reprise.http.health import Readiness, health_router
from reprise.http.metrics import installed_version
from reprise.http.metrics_server import metrics_server
from reprise.http.middleware.access_log import AccessLog
from reprise.predictor.context import PredictorContext
from reprise.predictor.exceptions import NoModelError
from reprise.predictor.handlers.features import info_router, model_router
from reprise.predictor.handlers.model_info import routing_router
from reprise.predictor.handlers.predict import add_predict_routes
from reprise.predictor.settings import PredictorSettings
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)
_KEYS_SECONDS = 2.0
_SETTLE_SECONDS = 2.0
_DESCRIPTION = """
Reprise predicts whether a user will buy a product, for the first time or again, within the model's horizon.

Every error is an [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem document.
"""


def create_app(context: PredictorContext) -> FastAPI:
    """Return the application; its lifespan connects, loads the model, and keeps both fresh."""

    settings = context.settings
    broken: list[str] = []

    def reasons() -> list[str]:
        missing = [] if context.routing.baseline else ["no model is loaded"]
        return [*broken, *missing, *([context.store.reason] if context.store.reason else [])]

    def in_background(name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                broken.append(f"{name} has stopped")
                _log.critical("background_work_failed", work=name, exc_info=error)

        task = asyncio.create_task(work)
        task.add_done_callback(ended)
        return task

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await _begin(context, stack, reasons)
            tasks = [in_background(name, work) for name, work in _background(context)]
            if not settings.model_reload_seconds and context.routing.baseline is None:
                raise NoModelError(context.models.refusal.reason if context.models.refusal else "unknown")
            # What is there now stays; looking through all of it would stop requests for tens of milliseconds.
            gc.collect()
            gc.freeze()
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                gc.unfreeze()

    app = create_http_app(
        title="Reprise predictor",
        version=installed_version(),
        description=_DESCRIPTION,
        registry=context.registry,
        readiness=reasons,
        lifespan=lifespan,
        max_body_bytes=settings.max_body_bytes,
        serve_metrics=settings.metrics_port is None,
        authentication=context.authentication,
        access_log=_access_log(settings),
        tracing=context.tracing,
    )
    add_predict_routes(app, context)
    app.include_router(info_router(context))
    if settings.metrics_port is None:
        app.include_router(routing_router(context.routing))
    return app


async def _begin(context: PredictorContext, stack: AsyncExitStack, reasons: Readiness) -> None:
    """Connect, load what is to answer, and leave to the stack what is to be closed."""
    settings = context.settings
    if settings.metrics_port is not None:
        await stack.enter_async_context(
            metrics_server(
                context.registry,
                settings.api_host,
                settings.metrics_port,
                routing_router(context.routing),
                model_router(context),
                health_router(reasons),
            )
        )
    await stack.enter_async_context(context.reader)
    if context.log is not None:
        context.log.start()
        stack.push_async_callback(asyncio.to_thread, context.log.close, settings.prediction_log_flush_seconds)
    if context.documents is not None:
        await stack.enter_async_context(context.documents)
    await asyncio.gather(context.models.refresh(), context.store.ask())
    if settings.routing_seconds:
        await context.routing.refresh()
        await context.routing.settle(_SETTLE_SECONDS)


def _background(context: PredictorContext) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
    settings = context.settings
    yield "shadows", context.shadows.work()
    if settings.routing_seconds:
        yield "routing", context.routing.keep_fresh(settings.routing_seconds)
    yield "store watch", context.store.keep_asking(settings.redis_ping_seconds)
    if settings.model_reload_seconds:
        yield "model reload", context.models.keep_fresh(settings.model_reload_seconds)
    if context.authentication is not None and settings.api_keys_file is not None:
        yield "API keys", context.authentication.keys.keep_fresh(_KEYS_SECONDS)


def _access_log(settings: PredictorSettings) -> AccessLog | None:
    if settings.access_log == "off":
        return None
    json = not sys.stderr.isatty() if settings.log_json is None else settings.log_json
    return AccessLog(ids=settings.access_log == "ids", json=json)
