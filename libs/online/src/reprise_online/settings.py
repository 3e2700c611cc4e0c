"""Where the online store is, and how it is spoken to."""

from pydantic import Field, FilePath
from reprise_runtime.settings import RedisSettings


class OnlineStoreSettings(RedisSettings):
    """The online store of one Feast project."""

    redis_tls: bool = Field(
        default=False, validation_alias="REDIS_TLS", description="Speak TLS to the online store."
    )
    redis_ca_file: FilePath | None = Field(
        default=None,
        validation_alias="REDIS_CA_FILE",
        description="PEM file of the authorities that sign the store's certificate; the system's if absent.",
    )
    redis_timeout: float = Field(
        default=5.0,
        gt=0,
        validation_alias="REDIS_TIMEOUT",
        description="Longest wait for an answer of the online store, seconds.",
    )
    redis_connect_timeout: float = Field(
        default=2.0,
        gt=0,
        validation_alias="REDIS_CONNECT_TIMEOUT",
        description="Longest wait for a connection to the online store, seconds.",
    )
    feast_project: str = Field(
        default="reprise",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        validation_alias="FEAST_PROJECT",
        description="Feast project whose features are in the online store.",
    )

    @property
    def redis_address(self) -> str:
        """The store's address as people write it, without credentials."""
        scheme = "rediss" if self.redis_tls else "redis"
        return f"{scheme}://{self.redis_host}:{self.redis_port}/{self.redis_db}"
