"""One blocking connection to Redis, over which frames of many commands go at once.

hiredis parses the replies: a general-purpose client costs as much per command as Redis and the network together.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import hiredis

from reprise.store.exceptions import StoreRefusedError
from reprise.store.settings import Address, OnlineStoreSettings
from reprise.store.transport.resp import Command, ConnectionLostError, handshake, reply_error

_CHUNK: Final = 1 << 18
_INCOMPLETE: Final = object()


class BlockingConnection:
    """A connection that opens when it is first used, and again after it was lost."""

    def __init__(
        self, settings: OnlineStoreSettings, address: Address, tls: ssl.SSLContext | None, database: int
    ) -> None:
        self.address = address
        self._settings = settings
        self._tls = tls
        self._database = database
        self._socket: socket.socket | None = None
        self._parser = hiredis.Reader(notEnoughData=_INCOMPLETE)

    def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return their replies, errors among them as ``hiredis.ReplyError``.

        Raises:
            ConnectionLostError: The server is away, or does not answer in time.
            StoreRefusedError: The credentials or the server's certificate are refused.
        """
        return self.receive(self.send(commands))

    def send(self, commands: Sequence[Command]) -> int:
        """Send commands, and return their number.

        Raises:
            ConnectionLostError: The server is away, or does not accept them in time.
            StoreRefusedError: The credentials or the server's certificate are refused.
        """
        connected = self._socket or self._connect()
        try:
            connected.sendall(b"".join(commands))
        except OSError as error:
            raise self._lost(error) from error
        return len(commands)

    def receive(self, count: int) -> list[Any]:
        """Return the replies to commands that were sent.

        Raises:
            ConnectionLostError: They did not come in time.
        """
        if self._socket is None:
            raise ConnectionLostError("the connection is not made")
        gets, take, feed = self._parser.gets, self._socket.recv, self._parser.feed
        replies: list[Any] = []
        try:
            while True:
                while len(replies) < count and (reply := gets()) is not _INCOMPLETE:
                    replies.append(reply)
                if len(replies) == count:
                    return replies
                data = take(_CHUNK)
                if not data:
                    raise ConnectionResetError("the server closed the connection")
                feed(data)
        except (OSError, hiredis.ProtocolError) as error:
            raise self._lost(error) from error

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        settings = self._settings
        self._parser = hiredis.Reader(notEnoughData=_INCOMPLETE)
        try:
            connected = socket.create_connection(self.address, settings.redis_connect_timeout)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._tls is not None:
                connected = self._tls.wrap_socket(connected, server_hostname=self.address.host)
        except ssl.SSLError as error:  # which closes the socket
            raise StoreRefusedError(f"connect to {self.address}", f"TLS: {error}") from error
        except OSError as error:
            raise ConnectionLostError(f"{self.address}: {_describe(error)}") from error
        connected.settimeout(settings.redis_timeout)
        self._socket = connected
        for reply in self.execute(handshake(settings, self._database)):
            if isinstance(reply, hiredis.ReplyError):
                self.close()
                refusal = reply_error(f"connect to {self.address}", reply)
                if isinstance(refusal, StoreRefusedError):
                    raise refusal
                raise ConnectionLostError(f"{self.address}: {reply}")
        return connected

    def _lost(self, error: Exception) -> ConnectionLostError:
        self.close()
        return ConnectionLostError(f"{self.address}: {_describe(error)}")


def _describe(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
