"""Handlers for the few routes where every microsecond counts.

A FastAPI handler costs about 90 µs before its first line runs: middleware, routing, dependencies, models. A fast
handler is found by one dictionary lookup, takes the raw body and returns the raw response. FastAPI has the same
handler too: it documents it, answers other methods with 405, and serves it where the application is mounted below
another path.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from reprise.http.problems import UNSUPPORTED_MEDIA_TYPE, ProblemError
from reprise.http.tracing.trace_context import FAST_PATH

FastHandler = Callable[[Scope, bytes], Awaitable[bytes]]
"""Takes the ASGI scope and the body, returns JSON for a 200 response, raises ``ProblemError``."""

FastRoutes = dict[tuple[str, str], FastHandler]
"""Handlers by method and path."""

_JSON_HEADER = (b"content-type", b"application/json")


class FastPathMiddleware:
    """ASGI middleware that serves the fast routes, and passes on the rest."""

    def __init__(self, app: ASGIApp, routes: FastRoutes) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        handler = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if handler is None:
            await self._app(scope, receive, send)
            return
        scope[FAST_PATH] = True
        message = await receive()
        parts = [message.get("body", b"")]
        while message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
        if message["type"] == "http.disconnect":
            return
        try:
            _require_json(scope)
            answer = await handler(scope, b"".join(parts))
        except ProblemError as problem:
            await problem.response()(scope, receive, send)
            return
        headers = [_JSON_HEADER, (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def add_fast_route(
    app: FastAPI,
    method: str,
    path: str,
    handler: FastHandler,
    *,
    schemas: Mapping[str, Any] | None = None,
    **documentation: Any,
) -> None:
    """Serve a route of an application of ``create_http_app`` by a fast handler, which validates the request.

    Args:
        app: The application.
        method: The HTTP method.
        path: The exact path, without parameters.
        handler: Handles the request.
        schemas: The JSON schemas, by name, that the documentation refers to.
        documentation: More arguments of FastAPI's ``add_api_route``.
    """

    async def documented(request: Request) -> Response:
        _require_json(request.scope)
        answer = await handler(request.scope, await request.body())
        return Response(answer, media_type="application/json")

    routes: FastRoutes = app.state.fast_routes
    routes[method, path] = handler
    app.state.schemas.update(schemas or {})
    app.add_api_route(path, documented, methods=[method], **documentation)


def _require_json(scope: Scope) -> None:
    for name, value in scope["headers"]:
        if name == b"content-type":
            media_type = value.partition(b";")[0].strip().lower()
            if media_type != b"application/json":
                raise ProblemError(
                    UNSUPPORTED_MEDIA_TYPE,
                    f"The body must be JSON, not {media_type.decode('latin-1')!r}; "
                    "send Content-Type: application/json.",
                )
            return
