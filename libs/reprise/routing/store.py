"""The routing document and the rollout evidence of a Feast project, in the Redis that has its features."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import hiredis

from reprise.routing.document import RoutingDocument
from reprise.routing.evidence import RolloutEvidence
from reprise.routing.keys import document_key, evidence_key
from reprise.store.exceptions import StoreUnavailableError
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.blocking_connection import pack
from reprise.store.transport.cluster import ClusterTransport
from reprise.store.transport.connection import ConnectionLostError, reply_error, tls_context
from reprise.store.transport.server import ServerTransport


class RoutingStore:
    """Reads and writes both, for one thread of a process that may block; it connects when first used.

    Needs the permissions ``PING`` and, on the keys that are used, ``GET`` and ``SET``; for a database other than 0
    ``SELECT``, and on a cluster ``CLUSTER|SLOTS`` and ``ASKING``.

    Raises:
        StoreRefusedError: The CA file is not a PEM file.
    """

    def __init__(self, settings: OnlineStoreSettings) -> None:
        kind = ClusterTransport if settings.is_cluster else ServerTransport
        self._transport = kind(settings, settings.feast_project, tls_context(settings))
        self._address = settings.redis_address
        self._document = document_key(settings.feast_project).encode()
        self._evidence = evidence_key(settings.feast_project).encode()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def document(self) -> RoutingDocument | None:
        """Return the published routing document, ``None`` if there is none.

        Raises:
            InvalidRoutingError: The stored document breaks the format.
            StoreError: The store is unavailable, or refuses.
        """
        data = self._run("read the routing document", b"GET", self._document)
        return None if data is None else RoutingDocument.from_bytes(data)

    def evidence(self) -> RolloutEvidence | None:
        """Return the newest evidence, ``None`` if there is none.

        Raises:
            InvalidRoutingError: The stored evidence breaks the format.
            StoreError: The store is unavailable, or refuses.
        """
        data = self._run("read the rollout evidence", b"GET", self._evidence)
        return None if data is None else RolloutEvidence.from_bytes(data)

    def publish_document(self, document: RoutingDocument, expires: timedelta | None = None) -> None:
        """Replace the routing document; Redis deletes it after ``expires``, if given.

        Raises:
            StoreError: The store is unavailable, or refuses.
        """
        expiry = () if expires is None else (b"PX", round(expires.total_seconds() * 1000))
        self._run("write the routing document", b"SET", self._document, document.to_bytes(), *expiry)

    def publish_evidence(self, evidence: RolloutEvidence) -> None:
        """Replace the evidence.

        Raises:
            StoreError: The store is unavailable, or refuses.
        """
        self._run("write the rollout evidence", b"SET", self._evidence, evidence.to_bytes())

    def _run(self, doing: str, name: bytes, key: bytes, *arguments: bytes | int) -> Any:
        doing = f"{doing} at {self._address}"
        try:
            (reply,) = self._transport.run([pack(name, key, *arguments)], [key])
        except ConnectionLostError as error:
            raise StoreUnavailableError(doing, str(error)) from None
        if isinstance(reply, hiredis.ReplyError):
            raise reply_error(doing, reply)
        return reply
