"""One blocking connection to Redis, over which frames of many commands go at once.

Replies are parsed by hiredis, without anything else per command: a client for general use costs as much a
command as Redis and the network together.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import hiredis

from reprise.store.exceptions import StoreRefusedError
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.connection import ConnectionLostError, introduction, reply_error
from reprise.store.transport.slots import Address

Command = bytes
"""A command in Redis's protocol, with its arguments."""

_CHUNK: Final = 1 << 18
_INCOMPLETE: Final = object()


def pack(*arguments: bytes | int) -> Command:
    """Return the command with these arguments."""
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type] # its stub takes one
    return packed


class BlockingConnection:
    """A connection that is made when it is first used, and again after it was lost.

    Attributes:
        address: The server.
        made: How many times the connection has been made.
    """

    def __init__(
        self, settings: OnlineStoreSettings, address: Address, tls: ssl.SSLContext | None, database: int
    ) -> None:
        self.address = address
        self.made = 0
        self._settings = settings
        self._tls = tls
        self._database = database
        self._socket: socket.socket | None = None
        self._parser = hiredis.Reader(notEnoughData=_INCOMPLETE)

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return their replies, errors among them as ``hiredis.ReplyError``.

        Raises:
            ConnectionLostError: The server is away, or does not answer in time.
            StoreRefusedError: The server, or its certificate, is not to our credentials or settings.
        """
        return self.receive(self.send(commands))

    def send(self, commands: Sequence[Command]) -> int:
        """Send commands, and return how many replies there will be.

        Raises:
            ConnectionLostError: The server is away, or does not take them in time.
            StoreRefusedError: The server, or its certificate, is not to our credentials or settings.
        """
        connected = self._socket or self._connect()
        try:
            connected.sendall(b"".join(commands))
        except OSError as error:
            raise self._lost(error) from error
        return len(commands)

    def receive(self, count: int) -> list[Any]:
        """Return the replies to what was sent.

        Raises:
            ConnectionLostError: They did not come, or not in time.
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
        """Drop the connection, if there is one."""
        if self._socket is not None:
            with suppress(OSError):  # it is of no use any more, whatever is wrong with it
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
            raise ConnectionLostError(f"{self.address}: {_said(error)}") from error
        connected.settimeout(settings.redis_timeout)
        self._socket = connected
        self.made += 1
        self._introduce(introduction(settings, self._database))
        return connected

    def _introduce(self, commands: Sequence[bytes]) -> None:
        connected = self._socket
        assert connected is not None
        try:
            connected.sendall(b"".join(commands))
        except OSError as error:
            raise self._lost(error) from error
        for reply in self.receive(len(commands)):
            if isinstance(reply, hiredis.ReplyError):
                self.close()
                refusal = reply_error(f"connect to {self.address}", reply)
                if isinstance(refusal, StoreRefusedError):
                    raise refusal
                raise ConnectionLostError(f"{self.address}: {reply}")

    def _lost(self, error: Exception) -> ConnectionLostError:
        self.close()
        return ConnectionLostError(f"{self.address}: {_said(error)}")


def _said(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
