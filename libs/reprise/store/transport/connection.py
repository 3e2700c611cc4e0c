"""One asyncio connection to Redis that many callers share.

Redis answers in order, so any number of requests can be under way on one socket. Nothing here is per command:
a request is a frame of ready-made bytes and the number of replies that it will get. A client for general use
costs several times the time of the round trip itself.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from typing import Any, cast

import hiredis

from reprise.store.exceptions import StoreError, StoreRefusedError, StoreUnavailableError
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.resp_rows import PING, RespRowBuffer, RespRows
from reprise.store.transport.slots import Address

_INCOMPLETE = object()
# OOM: at its limit it refuses writes until somebody raises that
_PASSING = frozenset({"LOADING", "BUSY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "OOM"})
_STALL_SECONDS = 1.0


class ConnectionLostError(Exception):
    """The connection went away before the answer came."""


class DeadlineError(Exception):
    """The answer did not come in time."""


Replies = list[Any] | RespRows
"""The replies to a frame in order, errors among them; rows as they were received where that was asked for."""


class _Request:
    __slots__ = ("expected", "future", "raw", "replies", "sent_at")

    def __init__(
        self, future: asyncio.Future[Replies], expected: int, raw: RespRowBuffer | None, sent_at: float
    ) -> None:
        self.future = future
        self.expected = expected
        self.raw = raw
        self.replies: list[Any] = []
        self.sent_at = sent_at


class Connection(asyncio.Protocol):
    """A connected socket; made by `open_connection`.

    Attributes:
        address: The server.
        closed: Is done once the connection is gone.
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
        """How many requests wait for an answer, those included whose callers have given up."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether a request can still be sent."""
        return self._transport is not None

    async def ask(self, frame: bytes, replies: int, until: float) -> list[Any]:
        """Send a frame of commands and return their replies, errors among them as ``hiredis.ReplyError``.

        Args:
            frame: Commands in Redis's protocol.
            replies: How many there are.
            until: The loop's time after which the answer is of no use.

        Raises:
            ConnectionLostError: The connection is gone.
            DeadlineError: The answer did not come in time.
        """
        return cast(list[Any], await self._ask(frame, replies, None, until))

    async def ask_rows(self, frame: bytes, rows: int, width: int, until: float) -> Replies:
        """Send a frame of commands of which each asks for a row; takes and raises what ``ask`` does.

        Args:
            frame: Commands in Redis's protocol.
            rows: How many there are.
            width: How many fields each asks for.
            until: The loop's time after which the answer is of no use.

        Returns:
            The rows as they were received, or as ``ask`` does where one of them is an error or out of the common.
        """
        replies = await self._ask(frame + PING, rows + 1, RespRowBuffer(rows, width), until)
        return replies[:rows] if isinstance(replies, list) else replies

    async def _ask(self, frame: bytes, replies: int, raw: RespRowBuffer | None, until: float) -> Replies:
        if self._transport is None:
            raise ConnectionLostError(self._reason)
        future: asyncio.Future[Replies] = self._loop.create_future()
        self._waiting.append(_Request(future, replies, raw, self._loop.time()))
        self._transport.write(frame)
        timer = self._loop.call_at(until, self._expire, future)
        try:
            return await future
        finally:
            timer.cancel()

    def close(self, reason: str = "closed by us") -> None:
        """Drop the connection at once; who waits for an answer is told the reason."""
        if self._transport is not None:
            self._reason = reason
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._reason = "the server closed the connection"
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """Hand the replies to those who wait for them."""
        waiting = self._waiting
        while data and waiting and (raw := waiting[0].raw) is not None:
            if not raw.feed(data, last=len(waiting) == 1):
                return
            rows, data = raw.parse()
            if rows is None:
                waiting[0].raw = None
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
                self.close(f"the server said {reply!r} without being asked")
                return
            request = waiting[0]
            replies, expected = request.replies, request.expected
            replies.append(reply)
            while len(replies) < expected and (reply := gets()) is not _INCOMPLETE:
                replies.append(reply)
            if len(replies) < expected:
                return
            self._answer(replies)
            if waiting and waiting[0].raw is not None:
                if not self._parser.has_data():
                    return
                waiting[0].raw = None  # hiredis does not give back what it was fed

    def _answer(self, replies: Replies) -> None:
        future = self._waiting.popleft().future
        if not future.done():
            future.set_result(replies)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell those who wait."""
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
        # A slow answer to one caller is no reason to fail the others; a peer that is gone without a word is.
        if self._waiting and self._loop.time() - self._waiting[0].sent_at > _STALL_SECONDS:
            self.close(f"no answer for {_STALL_SECONDS:g} s")


async def open_connection(
    settings: OnlineStoreSettings, tls: ssl.SSLContext | None, address: Address
) -> Connection:
    """Return a connection to a server that is authenticated and has its database selected.

    Raises:
        StoreUnavailableError: Nobody answers there, or not in time, or the server is still loading.
        StoreRefusedError: The server, or its certificate, is not to our credentials or settings.
    """
    loop = asyncio.get_running_loop()
    doing = f"connect to {address if settings.is_cluster else settings.redis_address}"
    until = loop.time() + settings.redis_connect_timeout
    try:
        async with asyncio.timeout_at(until):
            _, connection = await loop.create_connection(
                lambda: Connection(loop, address), address.host, address.port, ssl=tls
            )
    except TimeoutError:
        raise StoreUnavailableError(
            doing, f"no connection within {settings.redis_connect_timeout:g} s"
        ) from None
    except ssl.SSLError as error:
        raise StoreRefusedError(doing, f"TLS: {error}") from error
    except OSError as error:
        raise StoreUnavailableError(doing, str(error)) from error
    try:
        await _introduce(connection, settings, doing, until)
    except BaseException:
        connection.close()
        raise
    return connection


def reply_error(doing: str, reply: hiredis.ReplyError) -> StoreError:
    """Return our error for one of the server's."""
    text = str(reply)
    if error_code(text) in _PASSING or "max number of clients" in text:
        return StoreUnavailableError(doing, text)
    return StoreRefusedError(doing, text)


def error_code(text: str) -> str:
    """Return the word that an error of the server begins with."""
    return text.split(" ", 1)[0]


def command(*parts: bytes) -> bytes:
    """Return one command in Redis's protocol."""
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def introduction(settings: OnlineStoreSettings, database: int) -> list[bytes]:
    """Return the commands that authenticate a new connection, select its database, and see whether it answers."""
    commands = []
    if settings.redis_password is not None:
        user = [] if settings.redis_username is None else [settings.redis_username.encode()]
        commands.append(command(b"AUTH", *user, settings.redis_password.get_secret_value().encode()))
    if database:
        commands.append(command(b"SELECT", b"%d" % database))
    commands.append(command(b"PING"))
    return commands


def tls_context(settings: OnlineStoreSettings) -> ssl.SSLContext | None:
    """Return how to speak TLS to the store, ``None`` where it is not to be spoken.

    Raises:
        StoreRefusedError: The file of authorities is no PEM file.
    """
    if not settings.redis_tls:
        return None
    try:
        return ssl.create_default_context(cafile=settings.redis_ca_file)
    except (OSError, ssl.SSLError) as error:
        raise StoreRefusedError(f"load the authorities in {settings.redis_ca_file}", str(error)) from error


async def _introduce(connection: Connection, settings: OnlineStoreSettings, doing: str, until: float) -> None:
    commands = introduction(settings, settings.redis_db)
    try:
        replies = await connection.ask(b"".join(commands), len(commands), until)
    except ConnectionLostError as error:
        raise StoreUnavailableError(doing, str(error)) from None
    except DeadlineError:
        raise StoreUnavailableError(doing, f"no answer within {settings.redis_connect_timeout:g} s") from None
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            raise reply_error(doing, reply)
