"""Documents in the online store's Redis: bytes under a key of their own, such as the routing document."""

from __future__ import annotations

import threading
from datetime import timedelta

import hiredis

from reprise.store.async_client import AsyncStoreClient
from reprise.store.client import StoreClient, Transport
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.resp import Command, pack, reply_error


class DocumentStore(StoreClient):
    """Reads and writes documents; blocking, threads take turns.

    Needs the permissions ``GET``, ``SET`` and ``PING`` and, for a database other than 0, ``SELECT``; on a cluster
    ``CLUSTER|SLOTS`` and ``ASKING``.
    """

    def __init__(self, transport: Transport, settings: OnlineStoreSettings) -> None:
        super().__init__(transport, settings)
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        """Return a document, ``None`` where there is none."""
        return self._execute_one(pack(b"GET", key.encode()), key, f"read {key}")

    def set(self, key: str, document: bytes, ttl: timedelta | None = None) -> None:
        """Write a document, which expires after ``ttl`` if that is given."""
        expiry = () if ttl is None else (b"PX", ttl // timedelta(milliseconds=1))
        self._execute_one(pack(b"SET", key.encode(), document, *expiry), key, f"write {key}")

    def _execute_one(self, command: Command, key: str, operation: str) -> bytes | None:
        with self._lock:
            replies = self.execute([command], [key.encode()], operation)
        self.raise_refusal(replies, operation)
        reply: bytes | None = replies[0]
        return reply


class DocumentReader(AsyncStoreClient):
    """Reads documents from one event loop, over a connection of its own.

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
