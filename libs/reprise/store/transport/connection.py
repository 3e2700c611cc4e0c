"""One asyncio connection to Redis that many callers share.

Redis answers in order, so any number of requests can be under way on one socket. A request is a frame of packed
commands and their number: a general-purpose client costs several times the round trip itself.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, cast

import hiredis

from reprise.store.exceptions import StoreRefusedError, StoreUnavailableError
from reprise.store.settings import Address, OnlineStoreSettings
from reprise.store.transport.resp import PING, ConnectionLostError, handshake, is_refusal, reply_error
from reprise.store.transport.resp_rows import RespRowBuffer, RespRows

_INCOMPLETE = object()
_STALL_SECONDS = 1.0


class DeadlineError(Exception):
    """The answer did not come before the deadline."""


Replies = list[Any] | RespRows
"""The replies to a frame in order, errors among them, or the rows in them."""


@dataclass(slots=True, eq=False)
class _Request:
    future: asyncio.Future[Replies]
    expected: int
    row_buffer: RespRowBuffer | None
    sent_at: float
    replies: list[Any] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """A connected socket; made by `open_connection`.

    Attributes:
        address: The server.
        closed: Is done once the connection is closed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, address: Address) -> None:
        self.address = address
        self._loop = loop
        self._parser = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._waiting: deque[_Request] = deque()
        self._transport: asyncio.Transport | None = None
        self._reason = "the connection is not made yet"
        self.closed: asyncio.Future[None] = loop.create_future()

    @property
    def pending(self) -> int:
        """The number of requests without an answer, including those whose callers have given up."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether a request can still be sent."""
        return self._transport is not None

    async def execute(self, frame: bytes, replies: int, until: float) -> list[Any]:
        """Send a frame of commands and return their replies, errors among them as ``hiredis.ReplyError``.

        Raises:
            ConnectionLostError: The connection is closed.
            DeadlineError: The answer did not come before the deadline, ``until`` in the loop's time.
        """
        return cast(list[Any], await self._send(frame, replies, None, until))

    async def execute_rows(self, frame: bytes, rows: int, width: int, until: float) -> Replies:
        """Send a frame of commands that each ask for ``width`` fields; raises as ``execute`` does.

        Returns:
            The rows, or a list as from ``execute`` where a reply is an error or has an uncommon form.
        """
        replies = await self._send(frame + PING, rows + 1, RespRowBuffer(rows, width), until)
        return replies[:rows] if isinstance(replies, list) else replies

    async def _send(
        self, frame: bytes, replies: int, row_buffer: RespRowBuffer | None, until: float
    ) -> Replies:
        if self._transport is None:
            raise ConnectionLostError(self._reason)
        future: asyncio.Future[Replies] = self._loop.create_future()
        self._waiting.append(_Request(future, replies, row_buffer, self._loop.time()))
        self._transport.write(frame)
        timer = self._loop.call_at(until, self._expire, future)
        try:
            return await future
        finally:
            timer.cancel()

    def close(self, reason: str = "closed by us") -> None:
        """Close the connection at once; pending requests fail with the reason."""
        if self._transport is not None:
            self._reason = reason
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self._reason = "the server closed the connection"
        connected = transport.get_extra_info("socket")
        if connected is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """Hand the replies to the pending requests."""
        waiting = self._waiting
        while data and waiting and (row_buffer := waiting[0].row_buffer) is not None:
            if not row_buffer.feed(data, last=len(waiting) == 1):
                return
            rows, data = row_buffer.parse()
            if rows is None:
                waiting[0].row_buffer = None
            else:
                self._answer(rows)
        try:
            if data:
                self._parse(data)
        except hiredis.ProtocolError as error:
            self.close(f"the server does not speak Redis's protocol: {error}")

    def _parse(self, data: bytes) -> None:
        waiting, gets = self._waiting, self._parser.gets
        self._parser.feed(data)
        while (reply := gets()) is not _INCOMPLETE:
            if not waiting:
                self.close(f"the server sent {reply!r} without a request")
                return
            request = waiting[0]
            replies, expected = request.replies, request.expected
            replies.append(reply)
            while len(replies) < expected and (reply := gets()) is not _INCOMPLETE:
                replies.append(reply)
            if len(replies) < expected:
                return
            self._answer(replies)
            if waiting and waiting[0].row_buffer is not None:
                if not self._parser.has_data():
                    return
                waiting[0].row_buffer = None  # hiredis does not return what it was fed

    def _answer(self, replies: Replies) -> None:
        future = self._waiting.popleft().future
        if not future.done():
            future.set_result(replies)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the pending requests."""
        if error is not None and self._transport is not None:
            self._reason = str(error) or type(error).__name__
        self._transport = None
        while self._waiting:
            future = self._waiting.popleft().future
            if not future.done():
                future.set_exception(ConnectionLostError(self._reason))
        if not self.closed.done():
            self.closed.set_result(None)

    def _expire(self, future: asyncio.Future[Replies]) -> None:
        if not future.done():
            future.set_exception(DeadlineError)
        # A slow answer to one caller does not fail the others; a peer that vanished without closing does.
        if self._waiting and self._loop.time() - self._waiting[0].sent_at > _STALL_SECONDS:
            self.close(f"no answer for {_STALL_SECONDS:g} s")


async def open_connection(
    settings: OnlineStoreSettings, tls: ssl.SSLContext | None, address: Address
) -> Connection:
    """Return a connection to a server that is authenticated and has its database selected.

    Raises:
        StoreUnavailableError: The server does not answer in time, or is still loading.
        StoreRefusedError: The credentials or the server's certificate are refused.
    """
    loop = asyncio.get_running_loop()
    operation = f"connect to {address if settings.is_cluster else settings.redis_address}"
    until = loop.time() + settings.redis_connect_timeout
    commands = handshake(settings)
    with ExitStack() as on_failure:
        try:
            async with asyncio.timeout_at(until):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, address), address.host, address.port, ssl=tls
                )
            on_failure.callback(connection.close)
            replies = await connection.execute(b"".join(commands), len(commands), until)
        except (TimeoutError, DeadlineError):
            reason = f"no answer within {settings.redis_connect_timeout:g} s"
            raise StoreUnavailableError(operation, reason) from None
        except ssl.SSLError as error:
            raise StoreRefusedError(operation, f"TLS: {error}") from error
        except (OSError, ConnectionLostError) as error:
            raise StoreUnavailableError(operation, str(error)) from error
        for reply in replies:
            if is_refusal(reply):
                raise reply_error(operation, reply)
        on_failure.pop_all()
    return connection
