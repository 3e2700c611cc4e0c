"""Connections to one server, kept open in the background."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable

from reprise.store.exceptions import StoreError
from reprise.store.settings import Address, OnlineStoreSettings
from reprise.store.transport.connection import Connection, open_connection

_FIRST_BACKOFF = 0.02
_MAX_BACKOFF = 1.0


class ConnectionPool:
    """Keeps connections to one server open, and reopens them with exponential backoff while it is away.

    Args:
        settings: Credentials, database and timeouts.
        address: The server.
        tls: The TLS context, ``None`` without TLS.
        connections: The number of connections; many requests can be under way on each.
        changed: Is notified when a connection was opened, or could not be.
        on_lost: Is called when a connection was lost or could not be opened.

    Attributes:
        failure: Why the last attempt to connect failed, ``None`` where it did not.
    """

    def __init__(
        self,
        settings: OnlineStoreSettings,
        address: Address,
        tls: ssl.SSLContext | None,
        connections: int,
        changed: asyncio.Condition,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.address = address
        self.failure: StoreError | None = None
        self._settings = settings
        self._tls = tls
        self._changed = changed
        self._on_lost = on_lost
        self._open: list[Connection] = []
        self._tasks = [asyncio.create_task(self._reconnect()) for _ in range(connections)]

    async def close(self) -> None:
        """Close the connections; requests that are under way fail."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def least_pending(self) -> Connection | None:
        """Return the connection with the fewest pending requests, ``None`` where none is open."""
        # A connection may be closed for a moment before its task notices.
        return min((connection for connection in self._open if connection.alive), key=_pending, default=None)

    def raise_programming_error(self) -> None:
        """Raise what has ended a task, which only an error of ours does."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def _reconnect(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = _FIRST_BACKOFF
        while True:
            try:
                connection = await open_connection(self._settings, self._tls, self.address)
            except StoreError as error:
                await self._report(error)
            else:
                opened_at = loop.time()
                await self._hold(connection)
                if loop.time() - opened_at > _MAX_BACKOFF:
                    backoff = _FIRST_BACKOFF
                    continue
            await asyncio.sleep(backoff * random.uniform(0.5, 1.5))
            backoff = min(2 * backoff, _MAX_BACKOFF)

    async def _hold(self, connection: Connection) -> None:
        self._open.append(connection)
        try:
            await self._report(None)
            await connection.closed
            self._on_lost()
        finally:
            self._open.remove(connection)
            connection.close("the reader is closed")

    async def _report(self, failure: StoreError | None) -> None:
        self.failure = failure
        if failure is not None:
            self._on_lost()
        async with self._changed:
            self._changed.notify_all()


def _pending(connection: Connection) -> int:
    return connection.pending
