"""One log line for each request."""

import asyncio
import sys
from datetime import UTC, datetime
from typing import Any, Self

import orjson
from starlette.types import Scope

from reprise.http.middleware.authentication import CALLER, LACKED_SCOPE
from reprise.http.operations import OPERATIONS_PATHS
from reprise.http.tracing.trace_context import Trace, route_of
from reprise.runtime.logs import get_logger
from reprise.runtime.settings import KeySettings

_log = get_logger(__name__)
_IDS = "reprise.ids"
_FLUSH_SECONDS = 0.2
_FLUSH_LINES = 256


class AccessLog:
    """Writes a line for each request to standard error, in batches.

    A line costs about 3 µs; structlog's would cost more than half of a prediction. Successful health checks and
    scrapes are omitted.

    Args:
        ids: Whether lines contain the full address and the ids from handlers.
        json: Lines as JSON; otherwise structlog's format for people.
    """

    def __init__(self, *, ids: bool, json: bool) -> None:
        self.ids = ids
        self._json = json
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, settings: KeySettings) -> Self | None:
        """Return the access log of these settings, or None if requests are not logged."""
        if settings.access_log == "off":
            return None
        json = not sys.stderr.isatty() if settings.log_json is None else settings.log_json
        return cls(ids=settings.access_log == "ids", json=json)

    def note(
        self, scope: Scope, status: int, seconds: float, request_id: str | None, trace: Trace | None
    ) -> None:
        """Log one request; status 0 means that it got no response."""
        path = scope["path"]
        if path in OPERATIONS_PATHS and status == 200:
            return
        fields: dict[str, Any] = {
            "method": scope["method"],
            "path": route_of(scope),
            "status": status,
            "milliseconds": round(seconds * 1e3, 3),
        }
        if scope.get("client"):
            fields["peer"] = scope["client"][0]
        if CALLER in scope:
            fields["key"] = scope[CALLER]
        if LACKED_SCOPE in scope:
            fields["lacked_scope"] = scope[LACKED_SCOPE]
        if request_id is not None:
            fields["request_id"] = request_id
        if trace is not None:
            fields["trace_id"] = trace.trace_id
            if trace.parent_id:
                fields["parent_id"] = trace.parent_id
        if self.ids:
            fields["target"] = path + (
                "?" + scope["query_string"].decode("latin-1") if scope["query_string"] else ""
            )
            fields |= scope.get(_IDS, {})
        self._write(fields)

    def flush(self) -> None:
        """Write the buffered lines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines:
            text = b"".join(self._lines).decode()
            self._lines.clear()
            sys.stderr.write(text)
            sys.stderr.flush()

    def _write(self, fields: dict[str, Any]) -> None:
        if not self._json:
            _log.info("request", **fields)
            return
        head = {"event": "request", "level": "info", "logger": __name__, "timestamp": datetime.now(UTC)}
        self._lines.append(orjson.dumps(head | fields, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z))
        if len(self._lines) >= _FLUSH_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)


def note_ids(scope: Scope, **ids: str) -> None:
    """Note the ids in a request, for an access log with ids."""
    scope[_IDS] = ids
