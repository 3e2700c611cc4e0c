"""The routing document and the evidence, in the Redis that the predictors and the operator use."""

from types import TracebackType
from typing import Any, Self

from redis import Redis, RedisCluster
from redis.cluster import ClusterNode
from redis.exceptions import RedisError

from reprise.routing import RolloutEvidence, RoutingDocument, document_key, evidence_key
from reprise.store.exceptions import StoreUnavailableError
from reprise.store.settings import OnlineStoreSettings


class RoutingStore:
    """Reads what is routed and writes what users said of it.

    Args:
        settings: Where Redis is, and which project's.

    Raises:
        StoreUnavailableError: Redis is away.
    """

    def __init__(self, settings: OnlineStoreSettings) -> None:
        self._address = settings.redis_address
        self._project = settings.feast_project
        password = settings.redis_password
        options: dict[str, Any] = {
            "username": settings.redis_username,
            "password": password.get_secret_value() if password is not None else None,
            "socket_timeout": settings.redis_timeout,
            "socket_connect_timeout": settings.redis_connect_timeout,
            "ssl": settings.redis_tls,
        }
        if settings.redis_tls and settings.redis_ca_file is not None:
            options["ssl_ca_certs"] = str(settings.redis_ca_file)
        try:
            if settings.is_cluster:
                nodes = [
                    ClusterNode(address.host, address.port)  # type: ignore[no-untyped-call]
                    for address in settings.redis_addresses
                ]
                self._client: Any = RedisCluster(startup_nodes=nodes, **options)
            else:
                self._client = Redis(settings.redis_host, settings.redis_port, settings.redis_db, **options)
        except RedisError as error:
            raise StoreUnavailableError(f"connect to {self._address}", str(error)) from error

    def __enter__(self) -> Self:
        """Return the store."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop the connection."""
        self._client.close()

    def document(self) -> RoutingDocument | None:
        """Return the routing document; None where there is none.

        Raises:
            InvalidRoutingError: It breaks the format.
            StoreUnavailableError: Redis is away.
        """
        try:
            data = self._client.get(document_key(self._project))
        except RedisError as error:
            raise StoreUnavailableError(
                f"read the routing document of {self._address}", str(error)
            ) from error
        return None if data is None else RoutingDocument.from_bytes(data)

    def publish(self, evidence: RolloutEvidence) -> None:
        """Put the evidence where the operator reads it.

        Raises:
            StoreUnavailableError: Redis is away.
        """
        try:
            self._client.set(evidence_key(self._project), evidence.to_bytes())
        except RedisError as error:
            raise StoreUnavailableError(f"publish the evidence to {self._address}", str(error)) from error
