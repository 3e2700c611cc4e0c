"""Reading what else is kept beside the features: documents, each the value of a key."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import hiredis

from reprise.store.exceptions import StoreUnavailableError
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.async_cluster import AsyncClusterTransport
from reprise.store.transport.async_server import AsyncServerTransport, AsyncTransport
from reprise.store.transport.connection import (
    ConnectionLostError,
    DeadlineError,
    command,
    reply_error,
    tls_context,
)


class DocumentReader:
    """Reads documents for one process, from one event loop, over a connection of its own.

    Needs the permission ``GET`` on the documents' keys, ``PING`` and, for a database other than 0, ``SELECT``; on a
    cluster ``CLUSTER|SLOTS`` and ``ASKING``.

    Args:
        settings: Where the store is.
        deadline: Longest that a read takes, in seconds.

    Raises:
        StoreRefusedError: The file of authorities is no PEM file.
    """

    def __init__(self, settings: OnlineStoreSettings, deadline: float = 1.0) -> None:
        self._address = settings.redis_address
        self._deadline = deadline
        kind = AsyncClusterTransport if settings.is_cluster else AsyncServerTransport
        self._reads: AsyncTransport = kind(settings, tls_context(settings), 1)

    async def __aenter__(self) -> Self:
        self._reads.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._reads.close()

    async def get(self, key: str) -> bytes | None:
        """Return a document, ``None`` where there is none.

        Raises:
            StoreError: The store is away, or did not answer in time, or refuses.
        """
        doing = f"read {key} at {self._address}"
        name = key.encode()
        until = asyncio.get_running_loop().time() + self._deadline
        try:
            (reply,) = await self._reads.ask([command(b"GET", name)], [name], until)
        except (DeadlineError, TimeoutError) as error:
            why = str(error) or self._reads.failure
            reason = f"no answer within {self._deadline * 1000:g} ms" + (f" ({why})" if why else "")
            raise StoreUnavailableError(doing, reason) from None
        except ConnectionLostError as error:
            raise StoreUnavailableError(doing, str(error)) from None
        if isinstance(reply, hiredis.ReplyError):
            raise reply_error(doing, reply)
        document: bytes | None = reply
        return document
