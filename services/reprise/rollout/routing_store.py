"""Where the routing document is published, and the evidence read: Redis, beside the features."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisError
from redis.retry import Retry

from reprise.rollout.exceptions import RoutingStoreError
from reprise.routing import (
    InvalidRoutingError,
    RolloutEvidence,
    RoutingDocument,
    document_key,
    evidence_key,
)
from reprise.store.settings import OnlineStoreSettings


class RoutingStore(Protocol):
    """Keeps one document, and the evidence on it."""

    def published(self) -> RoutingDocument | None:
        """Return the document that the predictors poll, ``None`` where there is none that can be read."""

    def publish(self, document: RoutingDocument, expires: timedelta | None = None) -> None:
        """Replace the document."""

    def evidence(self) -> RolloutEvidence | None:
        """Return the newest evidence, ``None`` where there is none."""


class RedisRoutingStore:
    """The document and the evidence of one Feast project.

    Args:
        client: A client that answers in bytes.
        address: The store's address for error messages.
        project: The Feast project.
    """

    def __init__(self, client: "Redis | RedisCluster", address: str, project: str) -> None:
        self._client = client
        self._address = address
        self._document = document_key(project)
        self._evidence = evidence_key(project)

    @classmethod
    def connect(cls, settings: OnlineStoreSettings) -> "RedisRoutingStore":
        """Return the store at the configured address.

        Raises:
            RoutingStoreError: It is a cluster, and no node of it answers.
        """
        password = settings.redis_password
        options: dict[str, Any] = {
            "username": settings.redis_username,
            "password": password.get_secret_value() if password else None,
            "ssl": settings.redis_tls,
            "ssl_ca_certs": str(settings.redis_ca_file) if settings.redis_ca_file else None,
            "socket_timeout": settings.redis_timeout,
            "socket_connect_timeout": settings.redis_connect_timeout,
            "retry": Retry(NoBackoff(), 1),
        }
        client: Redis | RedisCluster
        if settings.is_cluster:
            nodes = [ClusterNode(node.host, node.port) for node in settings.redis_addresses]  # type: ignore[no-untyped-call]
            try:
                client = RedisCluster(startup_nodes=nodes, **options)
            except RedisError as error:
                raise RoutingStoreError(f"{settings.redis_address}: {error}") from error
        else:
            client = Redis(
                host=settings.redis_host, port=settings.redis_port, db=settings.redis_db, **options
            )
        return cls(client, settings.redis_address, settings.feast_project)

    def published(self) -> RoutingDocument | None:
        """Return the document that the predictors poll, ``None`` where there is none that can be read.

        Raises:
            RoutingStoreError: The store is away, or refuses.
        """
        with self._converted("read the routing document"):
            data = self._client.get(self._document)
        try:
            return None if data is None else RoutingDocument.from_bytes(cast(bytes, data))
        except InvalidRoutingError:
            # Whatever it is, the predictors refuse it as well, and it is about to be replaced.
            return None

    def publish(self, document: RoutingDocument, expires: timedelta | None = None) -> None:
        """Replace the document.

        Raises:
            RoutingStoreError: The store is away, or refuses.
        """
        with self._converted("write the routing document"):
            self._client.set(self._document, document.to_bytes(), px=expires)

    def evidence(self) -> RolloutEvidence | None:
        """Return the newest evidence, ``None`` where there is none.

        Raises:
            RoutingStoreError: The store is away or refuses, or what it holds is no evidence.
        """
        with self._converted("read the evidence"):
            data = self._client.get(self._evidence)
        try:
            return None if data is None else RolloutEvidence.from_bytes(cast(bytes, data))
        except InvalidRoutingError as error:
            raise RoutingStoreError(f"{self._address}: {self._evidence}: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @contextmanager
    def _converted(self, doing: str) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            raise RoutingStoreError(f"{doing} at {self._address}: {error}") from error
