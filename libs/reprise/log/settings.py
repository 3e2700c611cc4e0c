"""Where the log is."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, FilePath, SecretStr, field_validator, model_validator

from reprise.runtime.settings import KafkaSettings


class KafkaAccessSettings(KafkaSettings):
    """How to be let in by Kafka, and what to expect of it."""

    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT",
        validation_alias="KAFKA_SECURITY_PROTOCOL",
        description="Whether connections are encrypted (SSL) and authenticated (SASL).",
    )
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256"] = Field(
        default="SCRAM-SHA-512",
        validation_alias="KAFKA_SASL_MECHANISM",
        description="How the password is proved, where the protocol is SASL.",
    )
    kafka_username: str | None = Field(
        default=None, validation_alias="KAFKA_USERNAME", description="Kafka user, where the protocol is SASL."
    )
    kafka_password: SecretStr | None = Field(
        default=None, validation_alias="KAFKA_PASSWORD", description="That user's password."
    )
    kafka_ca_file: FilePath | None = Field(
        default=None,
        validation_alias="KAFKA_CA_FILE",
        description="PEM file of the authorities that sign the brokers' certificates; absent, the system's.",
    )
    kafka_client_id: str = Field(
        default="reprise",
        min_length=1,
        validation_alias="KAFKA_CLIENT_ID",
        description="Name under which Kafka's own logs, metrics and quotas list this process.",
    )
    kafka_connect_seconds: float = Field(
        default=15.0,
        gt=0,
        validation_alias="KAFKA_CONNECT_SECONDS",
        description="Seconds to wait for Kafka's first answer before giving up.",
    )
    kafka_session_seconds: float = Field(
        default=10.0,
        ge=1,
        validation_alias="KAFKA_SESSION_SECONDS",
        description="Seconds without a heartbeat after which a consumer's partitions go to others.",
    )
    kafka_delivery_seconds: float = Field(
        default=30.0,
        ge=2,
        validation_alias="KAFKA_DELIVERY_SECONDS",
        description="Seconds for which a record is tried to be written before its append fails.",
    )

    @field_validator("kafka_servers")
    @classmethod
    def _servers_are_addresses(cls, servers: str | None) -> str | None:
        for server in (servers or "").split(",") if servers else []:
            host, _, port = server.strip().rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError(f"expected host:port, separated by commas; {server.strip()!r} is not")
        return servers

    @model_validator(mode="after")
    def _sasl_has_a_user(self) -> Self:
        given = self.kafka_username is not None and self.kafka_password is not None
        if self.kafka_security_protocol.startswith("SASL") and not given:
            raise ValueError(
                f"KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} needs KAFKA_USERNAME and KAFKA_PASSWORD"
            )
        if not self.kafka_security_protocol.startswith("SASL") and self.kafka_password is not None:
            raise ValueError(
                "KAFKA_PASSWORD is set but would not be used: "
                "set KAFKA_SECURITY_PROTOCOL=SASL_SSL, or unset the password"
            )
        return self


class EventLogSettings(KafkaAccessSettings):
    """Where the log is, and how carefully it is written."""

    log_dir: Path = Field(
        default=Path("data/log"),
        validation_alias="REPRISE_LOG_DIR",
        description="Folder of the embedded log, shared by the processes of one machine.",
    )
    log_fsync: Literal["never", "always"] = Field(
        default="never",
        validation_alias="REPRISE_LOG_FSYNC",
        description="Whether each batch is on the disk before it is acknowledged; without, a crash of the "
        "machine, though not of a process, may lose the last seconds.",
    )
    log_buffer_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=1024,
        validation_alias="REPRISE_LOG_BUFFER_BYTES",
        description="Bytes of records that may wait to be written before appending is refused.",
    )
