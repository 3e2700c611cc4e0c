"""W3C trace context (https://www.w3.org/TR/trace-context/), passed through, or the request id in its place."""

import re
from typing import NamedTuple

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")
_NO_TRACE = b"0" * 32
_NO_PARENT = b"0" * 16
_UUID = re.compile(rb"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}")

TRACE = "reprise.trace"
"""Where the scope has the trace that a request belongs to."""


class Trace(NamedTuple):
    """The trace that a request belongs to.

    Attributes:
        trace_id: 32 hexadecimal digits.
        parent_id: The caller's span, 16 hexadecimal digits; empty where only the trace is known.
    """

    trace_id: str
    parent_id: str


def parse_traceparent(value: bytes) -> Trace | None:
    """Return the trace of a ``traceparent`` header, or ``None`` where it is none."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None or match[1] == _NO_TRACE or match[2] == _NO_PARENT:
        return None
    # Version 00 has exactly these four parts.
    if value.startswith(b"00") and len(value) != 55:
        return None
    return Trace(match[1].decode(), match[2].decode())


def trace_of_request_id(value: bytes) -> Trace | None:
    """Return the trace of a request id that is a UUID, whose 128 bits are a trace id; ``None`` where it is none.

    That is what Envoy, and Ingress controllers made of it, give every request that has no id yet.
    """
    if _UUID.fullmatch(value) is None:
        return None
    digits = value.replace(b"-", b"").lower()
    return None if digits == _NO_TRACE else Trace(digits.decode(), "")
