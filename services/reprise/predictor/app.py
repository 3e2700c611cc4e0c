"""The predictor's application."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from reprise.http.app import create_http_app
from reprise.http.middleware.access_log import AccessLog
from reprise.http.operations import health_router
from reprise.http.server import metrics_server
from reprise.predictor.context import PredictorContext
from reprise.predictor.exceptions import NoModelError
from reprise.predictor.handlers.endpoint import endpoint_route
from reprise.predictor.handlers.lookups import features_router, model_router, routing_router
from reprise.predictor.handlers.predict import add_predict_routes
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)
_FIRST_LOADS_SECONDS = 10.0
_DESCRIPTION = """
Reprise predicts whether a user will buy a product, for the first time or again, within the model's horizon.

Every error is an [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem document.
"""


def create_app(context: PredictorContext, *, freeze_objects: bool = False) -> FastAPI:
    """Return the application; its lifespan connects, loads the models and runs the background tasks.

    ``freeze_objects`` makes the objects of the process that exist then permanent. Scanning them for garbage would pause
    requests for tens of milliseconds.
    """
    settings = context.settings
    failed_tasks: list[str] = []

    def reasons() -> list[str]:
        no_model = [] if context.router.baseline else ["no model is loaded"]
        store = [context.reader.problem] if context.reader.problem else []
        return [*failed_tasks, *no_model, *store]

    def start_task(name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        def report_failure(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                failed_tasks.append(f"{name} has stopped")
                _log.critical("background_work_failed", work=name, exc_info=error)

        task = asyncio.create_task(work)
        task.add_done_callback(report_failure)
        return task

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if settings.metrics_port is not None:
                operators = routing_router(context.router), model_router(context), health_router(reasons)
                await stack.enter_async_context(
                    metrics_server(context.registry, settings, settings.metrics_port, *operators)
                )
            await _connect(context, stack)
            tasks = [start_task(name, work) for name, work in _background_tasks(context)]
            if not settings.model_reload_seconds and context.router.baseline is None:
                refusal = context.configured_model.refusal
                raise NoModelError(refusal.reason if refusal else "unknown")
            if freeze_objects:
                gc.collect()
                gc.freeze()
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    app = create_http_app(
        title="Reprise predictor",
        description=_DESCRIPTION,
        registry=context.registry,
        readiness=reasons,
        lifespan=lifespan,
        max_body_bytes=settings.max_body_bytes,
        docs=settings.api_docs,
        root_path=settings.api_root_path,
        serve_metrics=settings.metrics_port is None,
        authentication=context.authentication,
        access_log=AccessLog.of(settings),
        tracing=context.tracing,
    )
    add_predict_routes(app, context)
    route_class = endpoint_route(context)
    app.include_router(model_router(context, route_class))
    app.include_router(features_router(context, route_class))
    if settings.metrics_port is None:
        app.include_router(routing_router(context.router))
    return app


async def _connect(context: PredictorContext, stack: AsyncExitStack) -> None:
    settings = context.settings
    await stack.enter_async_context(context.store)
    if (log := context.prediction_log) is not None:
        log.start()
        stack.push_async_callback(asyncio.to_thread, log.close, settings.prediction_log_flush_seconds)
    if context.document_reader is not None:
        await stack.enter_async_context(context.document_reader)
    if context.rehearsal is not None:
        stack.callback(context.rehearsal.stop)
    await asyncio.gather(context.configured_model.refresh(), context.reader.check())
    if settings.routing_seconds:
        await context.router.refresh()
        await context.router.wait_for_loads(_FIRST_LOADS_SECONDS)


def _background_tasks(context: PredictorContext) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
    settings = context.settings
    yield "shadow traffic", context.shadow_traffic.run()
    if settings.routing_seconds:
        yield "routing", _repeat(context.router.refresh, settings.routing_seconds)
    yield "store health", _repeat(context.reader.check, settings.redis_ping_seconds)
    if settings.model_reload_seconds:
        yield "model reload", _repeat(context.configured_model.refresh, settings.model_reload_seconds)


async def _repeat(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        await work()
