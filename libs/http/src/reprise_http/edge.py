"""What stands between the server and every handler: limit, headers, and the last resort for errors."""

import re
import uuid

from reprise_runtime.logs import get_logger
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reprise_http.problems import BODY_TOO_LARGE, INTERNAL_ERROR, PROBLEM_MEDIA_TYPE, ProblemError

_log = get_logger(__name__)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
]
_API_HEADERS = [
    *_SECURITY_HEADERS,
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
# The documentation is a page with scripts, which FastAPI takes from a CDN.
_PAGE_HEADERS = [*_SECURITY_HEADERS, (b"x-frame-options", b"DENY")]
_PAGES = frozenset(("/docs", "/redoc"))


class _BodyTooLargeError(Exception):
    pass


class Edge:
    """ASGI middleware that every request and every answer passes.

    A body of more than ``max_body_bytes`` is answered 413, whether its length is declared or not, before
    a handler has read it all. Every answer gets the security headers, and the ``X-Request-ID`` of its
    request. An exception that no handler knew is logged with a correlation id and answered 500 with that
    id alone.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = _PAGE_HEADERS if scope["path"] in _PAGES else _API_HEADERS
        length: int | None = None
        chunked = False
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                chunked = True
            elif name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                added = [*added, (name, value)]
        started = False

        async def decorated(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], *added]
            await send(message)

        if length is not None and length > self._max_body_bytes:
            await _answer(self._too_large(), decorated)
            return
        if chunked:
            receive = self._counted(receive)
        try:
            await self._app(scope, receive, decorated)
        except _BodyTooLargeError:
            if started:
                raise
            await _answer(self._too_large(), decorated)
        except Exception as error:
            problem = _last_resort(scope, error)
            if started:
                raise
            await _answer(problem, decorated)

    def _counted(self, receive: Receive) -> Receive:
        seen = 0

        async def counting() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self._max_body_bytes:
                    raise _BodyTooLargeError
            return message

        return counting

    def _too_large(self) -> ProblemError:
        # The rest of the body is not read, so the connection cannot carry another request.
        return ProblemError(
            BODY_TOO_LARGE,
            f"The body may have at most {self._max_body_bytes:,} bytes.",
            headers={"connection": "close"},
        )


def _last_resort(scope: Scope, error: Exception) -> ProblemError:
    correlation_id = uuid.uuid4()
    _log.error(
        "unhandled_exception",
        correlation_id=str(correlation_id),
        method=scope["method"],
        # The path itself may hold an id.
        path=getattr(scope.get("route"), "path", scope["path"]),
        exc_info=error,
    )
    return ProblemError(
        INTERNAL_ERROR,
        "The service failed for a reason of its own; its log tells which under the id of this occurrence.",
        instance=correlation_id.urn,
    )


async def _answer(problem: ProblemError, send: Send) -> None:
    body = problem.encode()
    headers = [
        (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        *((name.encode(), value.encode()) for name, value in problem.headers.items()),
    ]
    await send({"type": "http.response.start", "status": problem.kind.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
