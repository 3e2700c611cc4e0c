"""The predictor's application."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from reprise_http.app import create_http_app
from reprise_http.metrics import installed_version
from reprise_runtime.logs import get_logger

from reprise_predictor.context import DISTRIBUTION, PredictorContext
from reprise_predictor.exceptions import NoModelError
from reprise_predictor.info_routes import info_router
from reprise_predictor.predict_routes import add_predict_routes

_log = get_logger(__name__)
_DESCRIPTION = """
Reprise predicts whether a user will buy a product, for the first time or again, within the model's horizon.

Every error is an [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem document.
"""


def create_app(context: PredictorContext) -> FastAPI:
    """Return the application; its lifespan connects, loads the model, and keeps both fresh."""

    broken: list[str] = []

    def reasons() -> list[str]:
        missing = [] if context.models.loaded else ["no model is loaded"]
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
        settings = context.settings
        async with context.reader:
            await asyncio.gather(context.models.refresh(), context.store.ask())
            tasks = [in_background("store watch", context.store.keep_asking(settings.redis_ping_seconds))]
            if settings.model_reload_seconds:
                seconds = settings.model_reload_seconds
                tasks.append(in_background("model reload", context.models.keep_fresh(seconds)))
            elif context.models.loaded is None:
                raise NoModelError(context.models.refusal.reason if context.models.refusal else "unknown")
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    app = create_http_app(
        title="Reprise predictor",
        version=installed_version(DISTRIBUTION),
        description=_DESCRIPTION,
        registry=context.registry,
        readiness=reasons,
        lifespan=lifespan,
        max_body_bytes=context.settings.max_body_bytes,
    )
    add_predict_routes(app, context)
    app.include_router(info_router(context))
    return app
