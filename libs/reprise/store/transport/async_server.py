"""Where a reader's commands go: to one server here, to the nodes of a cluster in `cluster_reads`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from reprise.store.exceptions import StoreError, StoreRefusedError, StoreUnavailableError
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.connection import Connection, ConnectionLostError, Replies
from reprise.store.transport.connection_pool import ConnectionPool

_TRIES = 3
_Replies = TypeVar("_Replies")


class AsyncTransport(Protocol):
    """Takes commands to whoever has their keys, and brings the replies within a deadline."""

    @property
    def failure(self) -> StoreError | None:
        """Why nobody can be asked, or could not the last time; ``None`` where all is well."""

    def start(self) -> None:
        """Begin to connect; needs a running event loop."""

    async def close(self) -> None:
        """Drop the connections."""

    async def ask(self, commands: Sequence[bytes], keys: Sequence[bytes], until: float) -> list[Any]:
        """Send commands at once and return their replies in order, errors among them.

        Args:
            commands: Commands in Redis's protocol.
            keys: The key of each.
            until: The loop's time after which the answer is of no use.

        Raises:
            DeadlineError: No answer came in time; its text, if it has one, says why.
            TimeoutError: The same.
            ConnectionLostError: A connection was lost, and the next ones as well.
            StoreError: Nobody can be asked.
        """

    async def ask_rows(
        self, commands: Sequence[bytes], keys: Sequence[bytes], width: int, until: float
    ) -> Replies:
        """Do as ``ask`` with commands that each ask for ``width`` fields, and return rows as received where it can."""

    async def ask_everywhere(self, command: bytes, until: float) -> list[Any]:
        """Send a command without a key to every primary, and return the replies; raises as ``ask`` does."""


class AsyncServerTransport:
    """One server that has all keys; see ``AsyncTransport``."""

    def __init__(self, settings: OnlineStoreSettings, tls: ssl.SSLContext | None, connections: int) -> None:
        self._settings = settings
        self._tls = tls
        self._wanted = connections
        self._changed = asyncio.Condition()
        self._upkeep: ConnectionPool | None = None

    @property
    def failure(self) -> StoreError | None:
        """See ``AsyncTransport``."""
        return None if self._upkeep is None else self._upkeep.failure

    def start(self) -> None:
        """See ``AsyncTransport``."""
        if self._upkeep is None:
            address = self._settings.redis_addresses[0]
            self._upkeep = ConnectionPool(self._settings, address, self._tls, self._wanted, self._changed)

    async def close(self) -> None:
        """See ``AsyncTransport``."""
        upkeep, self._upkeep = self._upkeep, None
        if upkeep is not None:
            await upkeep.close()

    async def ask(
        self,
        commands: Sequence[bytes],
        keys: Sequence[bytes],  # noqa: ARG002 - the one server has them all
        until: float,
    ) -> list[Any]:
        """See ``AsyncTransport``."""
        frame = b"".join(commands)
        return await self._anywhere(lambda connection: connection.ask(frame, len(commands), until), until)

    async def ask_rows(
        self,
        commands: Sequence[bytes],
        keys: Sequence[bytes],  # noqa: ARG002 - the one server has them all
        width: int,
        until: float,
    ) -> Replies:
        """See ``AsyncTransport``."""
        frame, rows = b"".join(commands), len(commands)
        return await self._anywhere(lambda connection: connection.ask_rows(frame, rows, width, until), until)

    async def _anywhere(self, ask: Callable[[Connection], Awaitable[_Replies]], until: float) -> _Replies:
        lost = ""
        for _ in range(_TRIES):
            upkeep = self._upkeep
            connection = (upkeep and upkeep.least_busy()) or await self._wait_for_connection(until)
            try:
                return await ask(connection)
            except ConnectionLostError as error:
                lost = str(error)
        raise ConnectionLostError(f"{lost}, {_TRIES} times")

    async def ask_everywhere(self, command: bytes, until: float) -> list[Any]:
        """See ``AsyncTransport``."""
        return await self.ask([command], [b""], until)

    async def _wait_for_connection(self, until: float) -> Connection:
        async with asyncio.timeout_at(until), self._changed:
            while True:
                upkeep = self._upkeep
                if upkeep is None:
                    raise not_started(self._settings)
                connection = upkeep.least_busy()
                if connection is not None:
                    return connection
                upkeep.raise_defect()
                raise_refusal(upkeep.failure)
                await self._changed.wait()


def not_started(settings: OnlineStoreSettings) -> StoreUnavailableError:
    """Return the error of a reader that was not started, or is closed."""
    return StoreUnavailableError(f"read at {settings.redis_address}", "the reader is not started")


def raise_refusal(failure: StoreError | None) -> None:
    """Raise a failure that waiting does not mend, such as wrong credentials."""
    if isinstance(failure, StoreRefusedError):
        raise StoreRefusedError(failure.doing, failure.reason)
