"""Blocking clients of the online store's Redis: send commands, convert errors."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Self

import hiredis

from reprise.store.exceptions import StoreError, StoreUnavailableError
from reprise.store.settings import Address, OnlineStoreSettings
from reprise.store.transport.blocking import BlockingTransport
from reprise.store.transport.resp import (
    PING,
    Command,
    ConnectionLostError,
    is_refusal,
    pack,
    reply_error,
    tls_context,
)


class StoreClient:
    """One server or a cluster, for one thread of a process.

    Methods raise ``StoreError`` where the store is away or refuses. A lost connection is opened again and its commands
    are sent again, a few times within a second or two; any command may therefore run twice.
    """

    def __init__(self, transport: BlockingTransport, settings: OnlineStoreSettings) -> None:
        self.transport = transport
        self._address = settings.redis_address
        self._replicas = settings.replicas_waited_for

    @classmethod
    def connect(cls, settings: OnlineStoreSettings) -> Self:
        """Return a client that connects when first used.

        Raises:
            StoreRefusedError: The file of certificate authorities is no PEM file.
        """
        return cls(BlockingTransport(settings, tls_context(settings)), settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    def ping(self) -> None:
        """Return once all primaries answer."""
        with self.convert_errors("ping"):
            replies = self.transport.execute_on_primaries(PING)
        self.raise_refusal(filter(is_refusal, replies.values()), "ping")

    def execute(self, commands: Sequence[Command], keys: Sequence[bytes], operation: str) -> list[Any]:
        """Send commands, each with its key, in one round trip; return the replies, errors of Redis among them.

        ``operation`` says in error messages what the caller does.
        """
        if not commands:
            return []
        with self.convert_errors(operation):
            return self.transport.execute(commands, keys)

    def execute_on_primaries(self, command: Command, operation: str) -> dict[Address, Any]:
        """Send a command without a key to every primary, and return the replies."""
        with self.convert_errors(operation):
            replies = self.transport.execute_on_primaries(command)
        self.raise_refusal(replies.values(), operation)
        return replies

    def raise_refusal(self, replies: Iterable[Any], operation: str) -> None:
        """Raise ``StoreError`` for the first reply that is an error."""
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise reply_error(f"{operation} at {self._address}", reply)

    @contextmanager
    def convert_errors(self, operation: str) -> Iterator[None]:
        """Raise what the transport raises as ``StoreError`` with the operation and the store's address."""
        operation = f"{operation} at {self._address}"
        try:
            yield
        except ConnectionLostError as error:
            raise StoreUnavailableError(operation, str(error)) from error
        except StoreError as error:
            raise type(error)(operation, str(error)) from error


class DocumentStore(StoreClient):
    """Reads and writes documents, bytes under a key of their own such as the routing document; threads take turns.

    Needs the permissions ``GET``, ``SET`` and ``PING`` and, for a database other than 0, ``SELECT``; on a cluster
    ``CLUSTER|SLOTS`` and ``ASKING``.
    """

    def __init__(self, transport: BlockingTransport, settings: OnlineStoreSettings) -> None:
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
