"""Settings of the online store."""

from typing import Literal, NamedTuple

from pydantic import Field, FilePath, ValidationInfo, field_validator

from reprise.runtime.settings import ProcessSettings, RedisSettings


class Address(NamedTuple):
    """The address of a server."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return ``host:port``, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class DuplicateWindowSettings(ProcessSettings):
    """How long the materializer knows an event id."""

    duplicate_window_seconds: float = Field(
        default=86_400.0,
        gt=0,
        validation_alias="MATERIALIZER_DUPLICATE_WINDOW_SECONDS",
        description="Seconds for which event ids are kept to drop duplicates.",
    )


class OnlineStoreSettings(RedisSettings):
    """The online store of one Feast project."""

    redis_type: Literal["redis", "redis_cluster"] = Field(
        default="redis",
        validation_alias="REDIS_TYPE",
        description="One server (redis) or a Redis Cluster (redis_cluster), in Feast's words.",
    )
    redis_nodes: str = Field(
        default="",
        validation_alias="REDIS_NODES",
        description="Other nodes of a cluster that may be asked for its layout, host:port,host:port.",
    )
    redis_tls: bool = Field(
        default=False,
        validation_alias="REDIS_TLS",
        description="Whether connections to the online store use TLS.",
    )
    redis_ca_file: FilePath | None = Field(
        default=None,
        validation_alias="REDIS_CA_FILE",
        description="PEM file of the certificate authorities of the online store; the system's if absent.",
    )
    redis_timeout: float = Field(
        default=5.0,
        gt=0,
        validation_alias="REDIS_TIMEOUT",
        description="Timeout of an answer of the online store, seconds.",
    )
    redis_connect_timeout: float = Field(
        default=2.0,
        gt=0,
        validation_alias="REDIS_CONNECT_TIMEOUT",
        description="Timeout of a connection to the online store, seconds.",
    )
    redis_wait_replicas: int | None = Field(
        default=None,
        ge=0,
        validation_alias="REDIS_WAIT_REPLICAS",
        description="Replicas of each primary that must have a write before it counts as done;"
        " by default 1 on a cluster and 0 on one server.",
    )
    feast_project: str = Field(
        default="reprise",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        validation_alias="FEAST_PROJECT",
        description="Feast project whose features are in the online store.",
    )

    @field_validator("redis_type")
    @classmethod
    def _cluster_has_one_database(cls, redis_type: str, info: ValidationInfo) -> str:
        database = info.data.get("redis_db")
        if redis_type == "redis_cluster" and database:
            raise ValueError(f"a cluster has database 0 only, and REDIS_DB is {database}")
        return redis_type

    @field_validator("redis_nodes")
    @classmethod
    def _nodes_are_addresses(cls, nodes: str) -> str:
        _addresses(nodes)
        return nodes

    @property
    def redis_addresses(self) -> tuple[Address, ...]:
        """The server, or the known nodes of a cluster."""
        return tuple(
            dict.fromkeys((Address(self.redis_host, self.redis_port), *_addresses(self.redis_nodes)))
        )

    @property
    def is_cluster(self) -> bool:
        """Whether the store is a Redis Cluster."""
        return self.redis_type == "redis_cluster"

    @property
    def replicas_waited_for(self) -> int:
        """The replicas of each primary that must have a write."""
        return int(self.is_cluster) if self.redis_wait_replicas is None else self.redis_wait_replicas

    @property
    def redis_address(self) -> str:
        """The store's URL without credentials."""
        scheme = "rediss" if self.redis_tls else "redis"
        where = ",".join(map(str, self.redis_addresses))
        return f"{scheme}://{where} (cluster)" if self.is_cluster else f"{scheme}://{where}/{self.redis_db}"


def _addresses(nodes: str) -> tuple[Address, ...]:
    found = []
    for node in filter(None, (part.strip() for part in nodes.split(","))):
        host, _, port = node.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(f"expected host:port,host:port, got {node!r}")
        found.append(Address(host.removeprefix("[").removesuffix("]"), int(port)))
    return tuple(found)
