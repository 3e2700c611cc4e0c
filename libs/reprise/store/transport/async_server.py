"""The asyncio transport of one server, and what it has in common with the one of a cluster."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from reprise.store.exceptions import StoreError, StoreRefusedError, StoreUnavailableError
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.connection import Connection, Replies
from reprise.store.transport.connection_pool import ConnectionPool
from reprise.store.transport.resp import ConnectionLostError

_TRIES = 3
_Replies = TypeVar("_Replies")


class AsyncServerTransport:
    """Sends commands to one server, and returns the replies before a deadline in the loop's time, ``until``.

    Requests raise ``DeadlineError`` or ``TimeoutError`` where no answer comes in time, ``ConnectionLostError`` where
    connections are lost several times in a row, and ``StoreError`` where the store refuses connections.
    """

    def __init__(self, settings: OnlineStoreSettings, tls: ssl.SSLContext | None, connections: int) -> None:
        self._settings = settings
        self._tls = tls
        self._size = connections
        self._changed = asyncio.Condition()
        self._pool: ConnectionPool | None = None

    @property
    def failure(self) -> StoreError | None:
        """Why the last attempt to connect failed, ``None`` where it did not."""
        return None if self._pool is None else self._pool.failure

    def start(self) -> None:
        """Begin to connect; needs a running event loop."""
        if self._pool is None:
            address = self._settings.redis_addresses[0]
            self._pool = ConnectionPool(self._settings, address, self._tls, self._size, self._changed)

    async def close(self) -> None:
        """Close the connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def execute(self, commands: Sequence[bytes], keys: Sequence[bytes], until: float) -> list[Any]:  # noqa: ARG002
        """Send commands, each with its key, and return their replies in order, errors of Redis among them."""
        frame = b"".join(commands)
        return await self._send(lambda connection: connection.execute(frame, len(commands), until), until)

    async def execute_rows(
        self,
        commands: Sequence[bytes],
        keys: Sequence[bytes],  # noqa: ARG002
        width: int,
        until: float,
    ) -> Replies:
        """Do as ``execute`` with commands that each ask for ``width`` fields; return ``RespRows`` if possible."""
        frame, rows = b"".join(commands), len(commands)
        return await self._send(lambda connection: connection.execute_rows(frame, rows, width, until), until)

    async def execute_on_primaries(self, command: bytes, until: float) -> list[Any]:
        """Send a command without a key to every primary, and return the replies."""
        return await self.execute([command], [b""], until)

    async def _send(self, send: Callable[[Connection], Awaitable[_Replies]], until: float) -> _Replies:
        lost = ""
        for _ in range(_TRIES):
            pool = self._pool
            connection = (pool and pool.least_pending()) or await self._wait_for_connection(until)
            try:
                return await send(connection)
            except ConnectionLostError as error:
                lost = str(error)
        raise ConnectionLostError(f"{lost}, {_TRIES} times")

    async def _wait_for_connection(self, until: float) -> Connection:
        async with asyncio.timeout_at(until), self._changed:
            while True:
                pool = self._pool
                if pool is None:
                    raise not_started(self._settings)
                connection = pool.least_pending()
                if connection is not None:
                    return connection
                pool.raise_programming_error()
                raise_refusal(pool.failure)
                await self._changed.wait()


def not_started(settings: OnlineStoreSettings) -> StoreUnavailableError:
    """Return the error of a transport that was not started, or is closed."""
    return StoreUnavailableError(f"read at {settings.redis_address}", "the reader is not started")


def raise_refusal(failure: StoreError | None) -> None:
    """Raise a failure that waiting does not fix, such as wrong credentials."""
    if isinstance(failure, StoreRefusedError):
        raise StoreRefusedError(failure.operation, failure.reason)
