"""Asyncio clients of the online store's Redis: send commands with a deadline, convert errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self, TypeVar

import hiredis

from reprise.store.exceptions import StoreUnavailableError
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.async_transport import AsyncTransport
from reprise.store.transport.connection import DeadlineError
from reprise.store.transport.resp import PING, ConnectionLostError, is_refusal, pack, reply_error, tls_context

_Replies = TypeVar("_Replies")


class AsyncStoreClient:
    """One server or a cluster, for one event loop.

    Methods raise ``StoreError`` where the store is away, does not answer before the deadline, or refuses. The client
    keeps ``connections`` connections to each server open in the background, each shared by many requests, and reopens
    them with backoff while the store is away. A request that finds none waits for one until its deadline; a request
    whose connection is lost is sent again on another one. Deadlines are in seconds.

    Raises:
        StoreRefusedError: The file of certificate authorities is no PEM file.
    """

    def __init__(
        self, settings: OnlineStoreSettings, *, deadline: float = 0.25, connections: int = 2
    ) -> None:
        self._address = settings.redis_address
        self._deadline = deadline
        self._transport = AsyncTransport(settings, tls_context(settings), connections)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to connect; needs a running event loop. The store need not be up yet."""
        self._transport.start()

    async def close(self) -> None:
        """Close the connections; requests that are under way fail."""
        await self._transport.close()

    async def ping(self, deadline: float | None = None) -> None:
        """Return once all primaries answer."""
        replies: list[Any] = await self._before_deadline(
            "ping", deadline, lambda until: self._transport.execute_on_primaries(PING, until)
        )
        for reply in replies:
            if is_refusal(reply):
                raise reply_error(f"ping {self._address}", reply)

    async def _execute(
        self,
        commands: Sequence[bytes],
        keys: Sequence[bytes],
        operation: str,
        deadline: float | None = None,
    ) -> list[Any]:
        return await self._before_deadline(
            operation, deadline, lambda until: self._transport.execute(commands, keys, until)
        )

    async def _before_deadline(
        self, operation: str, deadline: float | None, send: Callable[[float], Awaitable[_Replies]]
    ) -> _Replies:
        seconds = self._deadline if deadline is None else deadline
        try:
            return await send(asyncio.get_running_loop().time() + seconds)
        except (DeadlineError, TimeoutError) as error:
            reason = f"no answer within {seconds * 1000:g} ms"
            cause = str(error) or self._transport.failure
            if cause:
                reason += f" ({cause})"
            raise StoreUnavailableError(f"{operation} at {self._address}", reason) from None
        except ConnectionLostError as error:
            raise StoreUnavailableError(f"{operation} at {self._address}", str(error)) from None


class DocumentReader(AsyncStoreClient):
    """Reads documents, bytes under a key of their own, from one event loop over a connection of its own.

    Needs the permissions ``GET`` and ``PING`` and, for a database other than 0, ``SELECT``; on a cluster
    ``CLUSTER|SLOTS`` and ``ASKING``.
    """

    def __init__(self, settings: OnlineStoreSettings, deadline: float = 1.0) -> None:
        super().__init__(settings, deadline=deadline, connections=1)

    async def get(self, key: str) -> bytes | None:
        """Return a document, ``None`` where there is none."""
        operation = f"read {key}"
        (reply,) = await self._execute([pack(b"GET", key.encode())], [key.encode()], operation)
        if isinstance(reply, hiredis.ReplyError):
            raise reply_error(f"{operation} at {self._address}", reply)
        document: bytes | None = reply
        return document
