"""The outermost middleware: body limit, headers, request ids, timing, and the response to unexpected errors."""

import re
import time
import uuid
import zlib
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reprise.http.metrics import LoopHistogram, Observe
from reprise.http.middleware.access_log import AccessLog
from reprise.http.middleware.authentication import DOCS_PATH
from reprise.http.operations import OPERATIONS_PATHS
from reprise.http.problems import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    INTERNAL_ERROR,
    UNSUPPORTED_MEDIA_TYPE,
    ProblemError,
)
from reprise.http.tracing.trace_context import TRACE, Trace, parse_traceparent, trace_of_request_id
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_MALFORMED_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_GZIP = frozenset((b"gzip", b"x-gzip"))
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_GZIP_MEMBER_BYTES = 1024
"""What each further member of a gzip body counts toward the limit, so that empty members are bounded too."""
# The rest of the body is not read, so the connection cannot carry another request.
_CLOSE = {"connection": "close"}

_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
]
_API_HEADERS = [
    *_SECURITY_HEADERS,
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
# Swagger UI has styles in itself; its scripts come from this service.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)
_GONE = "gone"
"""Status label of a request whose client left before the response."""


class BaseMiddleware:
    """ASGI middleware around every request.

    A body of more than ``max_body_bytes`` gets 413, with or without a declared length, before a handler has read it
    all. A gzip body is inflated, within the same limit; another ``Content-Encoding`` gets 415, an address with invalid
    percent-encoding 400. Every response has the security headers, and the ``X-Request-ID`` and ``traceparent`` of its
    request. An unexpected exception is logged with a correlation id, and the 500 response contains only that id.
    ``durations`` times every request except probes and scrapes by status. ``page_policies`` has the content security
    policy of each path that is a page for people.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int,
        access_log: AccessLog | None = None,
        durations: LoopHistogram | None = None,
        page_policies: Mapping[str, str] | None = None,
    ) -> None:
        self._app = app
        self._pages = {
            path: [
                *_SECURITY_HEADERS,
                (b"x-frame-options", b"SAMEORIGIN" if "frame-ancestors 'self'" in policy else b"DENY"),
                (b"content-security-policy", policy.encode()),
            ]
            for path, policy in {DOCS_PATH: _DOCS_POLICY, **(page_policies or {})}.items()
        }
        self._max_body_bytes = max_body_bytes
        self._access_log = access_log
        self._durations = durations
        self._observers: dict[int, Observe] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            if self._access_log is not None:
                self._access_log.flush()
            return
        start = time.perf_counter()
        exchange = _Exchange(scope, send, self._pages.get(scope["path"], _API_HEADERS))
        try:
            await self._handle(exchange, scope, receive)
        finally:
            seconds = time.perf_counter() - start
            if self._durations is not None and scope["path"] not in OPERATIONS_PATHS:
                status = exchange.status
                if status not in self._observers:
                    self._observers[status] = self._durations.of(str(status) if status else _GONE)
                self._observers[status](seconds)
            if self._access_log is not None:
                self._access_log.note(scope, exchange.status, seconds, exchange.request_id, exchange.trace)

    async def _handle(self, exchange: "_Exchange", scope: Scope, receive: Receive) -> None:
        try:
            _check_encoding(scope.get("raw_path", b""), scope["query_string"])
            await self._app(scope, self._body(exchange, receive), exchange.send)
        except ClientDisconnect:
            return
        except Exception as error:
            problem = error if isinstance(error, ProblemError) else _internal_error(scope, error, exchange)
            if exchange.status:
                raise
            await problem.response()(scope, receive, exchange.send)

    def _body(self, exchange: "_Exchange", receive: Receive) -> Receive:
        """Return what receives the body, limited and inflated."""
        if exchange.length > self._max_body_bytes:
            raise self._too_large()
        if exchange.chunked:
            receive = self._limited(receive)
        if exchange.coding in _GZIP:
            return self._inflated(receive)
        if exchange.coding not in (b"", b"identity"):
            raise ProblemError(
                UNSUPPORTED_MEDIA_TYPE,
                f"Content-Encoding {exchange.coding.decode('latin-1')!r} is not read; send gzip, or none.",
                headers={"Accept-Encoding": "gzip, identity", **_CLOSE},
            )
        return receive

    def _limited(self, receive: Receive) -> Receive:
        received = 0

        async def counting() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._max_body_bytes:
                    raise self._too_large()
            return message

        return counting

    def _inflated(self, receive: Receive) -> Receive:
        inflater = zlib.decompressobj(_GZIP_WINDOW)
        left = self._max_body_bytes

        async def inflating() -> Message:
            nonlocal inflater, left
            message = await receive()
            if message["type"] != "http.request":
                return message
            parts, rest = [], message.get("body", b"")
            try:
                while rest:
                    if inflater.eof:
                        inflater = zlib.decompressobj(_GZIP_WINDOW)
                        left -= _GZIP_MEMBER_BYTES
                    parts.append(inflater.decompress(rest, max(left, 0) + 1))
                    left -= len(parts[-1])
                    if left < 0:
                        raise self._too_large()
                    rest = inflater.unused_data
            except zlib.error as error:
                raise ProblemError(BAD_REQUEST, f"The body is not gzip: {error}", headers=_CLOSE) from None
            if not message.get("more_body") and not inflater.eof:
                raise ProblemError(BAD_REQUEST, "The gzip body ends too early.", headers=_CLOSE)
            return {**message, "body": b"".join(parts)}

        return inflating

    def _too_large(self) -> ProblemError:
        detail = f"The body may have at most {self._max_body_bytes:,} bytes."
        return ProblemError(BODY_TOO_LARGE, detail, headers=_CLOSE)


def _check_encoding(*parts: bytes) -> None:
    """Raise ``ProblemError`` if percent-encoded text is not UTF-8, or has a percent sign without two digits."""
    for part in parts:
        if b"%" not in part:
            continue
        try:
            unquote_to_bytes(part).decode()
            valid = _MALFORMED_ESCAPE.search(part) is None
        except UnicodeDecodeError:
            valid = False
        if not valid:
            detail = "The address has invalid percent-encoding; it takes UTF-8, and %25 for a percent sign."
            raise ProblemError(BAD_REQUEST, detail, headers=_CLOSE)


class _Exchange:
    __slots__ = ("_added", "_send", "chunked", "coding", "length", "request_id", "status", "trace")

    def __init__(self, scope: Scope, send: Send, added: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self.status = 0
        self.length = 0
        self.chunked = False
        self.coding = b""
        self.request_id: str | None = None
        self.trace: Trace | None = None
        for name, value in scope["headers"]:
            if name == b"content-length":
                self.length = int(value)
            elif name == b"transfer-encoding":
                self.chunked = True
            elif name == b"content-encoding":
                self.coding = b", ".join(filter(None, (self.coding, value.strip().lower())))
            elif name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                self.request_id = value.decode()
                added = [*added, (name, value)]
            elif name == b"traceparent" and (trace := parse_traceparent(value)) is not None:
                self.trace = scope[TRACE] = trace
                added = [*added, (name, value)]
        if self.trace is None and self.request_id is not None:
            trace = trace_of_request_id(self.request_id.encode())
            if trace is not None:
                self.trace = scope[TRACE] = trace
        self._added = added

    async def send(self, message: Message) -> None:
        """Send a part of the response, its head with our headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._added]
        await self._send(message)


def _internal_error(scope: Scope, error: Exception, exchange: _Exchange) -> ProblemError:
    correlation_id = uuid.uuid4()
    ids = {"request_id": exchange.request_id, "trace_id": exchange.trace and exchange.trace.trace_id}
    _log.error(
        "unhandled_exception",
        correlation_id=str(correlation_id),
        method=scope["method"],
        # The path itself may contain an id.
        path=getattr(scope.get("route"), "path", None),
        exc_info=error,
        **{name: value for name, value in ids.items() if value is not None},
    )
    return ProblemError(
        INTERNAL_ERROR,
        "The service failed unexpectedly; its log has the reason under the id of this occurrence.",
        instance=correlation_id.urn,
    )
