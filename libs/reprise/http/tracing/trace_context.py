"""Which trace and route a request belongs to: W3C trace context (https://www.w3.org/TR/trace-context/)."""

import re
from typing import Literal, NamedTuple

from starlette.types import Scope

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")
_NO_TRACE = b"0" * 32
_NO_PARENT = b"0" * 16
_UUID = re.compile(rb"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}")

StageKind = Literal["internal", "client", "producer"]
"""The kind of a stage's span; ``client`` and ``producer`` for calls of another service."""

TRACE = "reprise.trace"
"""Scope entry with the request's trace."""

FAST_PATH = "reprise.fast_path"
"""Scope entry of a request that bypasses FastAPI's routing."""


class Trace(NamedTuple):
    """The trace of a request."""

    trace_id: str  # 32 hexadecimal digits
    parent_id: str  # The caller's span, 16 hexadecimal digits; empty if only the trace is known


def parse_traceparent(value: bytes) -> Trace | None:
    """Return the trace of a ``traceparent`` header, or ``None`` if it is invalid."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None or match[1] == _NO_TRACE or match[2] == _NO_PARENT:
        return None
    # Version 00 has exactly these four parts.
    if value.startswith(b"00") and len(value) != 55:
        return None
    return Trace(match[1].decode(), match[2].decode())


def trace_of_request_id(value: bytes) -> Trace | None:
    """Return the trace whose id is a request id, ``None`` if that is no UUID.

    Envoy, and the Ingress controllers built on it, give a UUID to every request without an id.
    """
    if _UUID.fullmatch(value) is None:
        return None
    digits = value.replace(b"-", b"").lower()
    return None if digits == _NO_TRACE else Trace(digits.decode(), "")


def route_of(scope: Scope) -> str | None:
    """Return the route of a request; its path may contain an id, its route does not."""
    path: str | None = scope["path"] if FAST_PATH in scope else getattr(scope.get("route"), "path", None)
    return path
