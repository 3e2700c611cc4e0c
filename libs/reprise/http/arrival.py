"""A deadline for requests to arrive, so that nobody holds a connection by sending byte after byte."""

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reprise.http.problems import PROBLEM_MEDIA_TYPE, REQUEST_TIMEOUT, ProblemError
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)


class ArrivalProtocol(HttpToolsProtocol):
    """uvicorn's protocol for HTTP/1.1, whose connections are dropped when a request takes too long to arrive.

    The time runs from the first byte of a request to its last, for a new connection from when it was made. Who
    has sent the head is answered 408. Each connection has one timer, which is set anew when it runs out rather
    than with each request.
    """

    arrival_seconds = 10.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._arriving = True
        self._begun = self.loop.time()
        self._timer = self.loop.call_later(self.arrival_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._timer.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Hear of the first byte of a request."""
        self._arriving = True
        self._begun = self.loop.time()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Hear of the last."""
        self._arriving = False
        super().on_message_complete()

    def _look(self) -> None:
        now = self.loop.time()
        # Of a connection that is not read for the moment, nothing can arrive.
        waiting = self._arriving and not self.flow.read_paused
        due = (self._begun if waiting else now) + self.arrival_seconds
        if due > now:
            self._timer = self.loop.call_at(due, self._look)
            return
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.response_started:
            self.transport.write(_too_late(self.arrival_seconds))
        _log.warning("request_arrives_too_slowly", seconds=self.arrival_seconds)
        self.transport.close()


def arrival_protocol(seconds: float) -> Callable[..., ArrivalProtocol]:
    """Return the protocol with this deadline, as ``http`` of uvicorn's configuration."""
    return type("ArrivalProtocol", (ArrivalProtocol,), {"arrival_seconds": seconds})


def _too_late(seconds: float) -> bytes:
    problem = ProblemError(REQUEST_TIMEOUT, f"The request did not arrive within {seconds:g} s.")
    body = problem.encode()
    head = (
        f"HTTP/1.1 408 Request Timeout\r\ncontent-type: {PROBLEM_MEDIA_TYPE}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
