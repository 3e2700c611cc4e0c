"""Connections to one server that are kept made in the background, so that a read finds one."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable

from reprise.store.exceptions import StoreError
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.connection import Connection, open_connection
from reprise.store.transport.slots import Address

_FIRST_BACKOFF = 0.02
_LONGEST_BACKOFF = 1.0


class ConnectionPool:
    """Keeps connections to one server, and makes them again, ever more slowly, while it is away.

    Args:
        settings: How it is spoken to.
        address: The server.
        tls: How to speak TLS to it, if at all.
        connections: How many connections to keep; many requests can be under way on each.
        changed: Is notified when a connection came, or could not be made.
        on_lost: Is called when a connection was lost or could not be made.

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
        self._live: list[Connection] = []
        self._keepers = [asyncio.create_task(self._keep_connected()) for _ in range(connections)]

    async def close(self) -> None:
        """Drop the connections; what is under way on them fails."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    def least_busy(self) -> Connection | None:
        """Return the connection on which the fewest wait, ``None`` where there is none."""
        # A connection may be dead for a moment before its keeper is told.
        return min((connection for connection in self._live if connection.alive), key=_pending, default=None)

    def raise_defect(self) -> None:
        """Raise what has ended a keeper, which only an error of ours does."""
        for keeper in self._keepers:
            if keeper.done():
                keeper.result()

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = _FIRST_BACKOFF
        while True:
            try:
                connection = await open_connection(self._settings, self._tls, self.address)
            except StoreError as error:
                await self._tell(error)
            else:
                born = loop.time()
                await self._keep(connection)
                if loop.time() - born > _LONGEST_BACKOFF:
                    backoff = _FIRST_BACKOFF
                    continue
            await asyncio.sleep(backoff * random.uniform(0.5, 1.5))
            backoff = min(2 * backoff, _LONGEST_BACKOFF)

    async def _keep(self, connection: Connection) -> None:
        self._live.append(connection)
        try:
            await self._tell(None)
            await connection.closed
            self._on_lost()
        finally:
            self._live.remove(connection)
            connection.close("the reader is closed")

    async def _tell(self, failure: StoreError | None) -> None:
        self.failure = failure
        if failure is not None:
            self._on_lost()
        async with self._changed:
            self._changed.notify_all()


def _pending(connection: Connection) -> int:
    return connection.pending
