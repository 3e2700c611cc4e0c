"""Settings of the event log."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, FilePath, SecretStr, field_validator, model_validator

from reprise.events.event import MAX_CLOCK_SKEW_SECONDS, METADATA_FIELDS_PATTERN, ArrivalWindow
from reprise.log.topics import PARTITIONS, PREDICTIONS, Topic
from reprise.runtime.settings import Duration, KafkaSettings, ProcessSettings


class KafkaAccessSettings(KafkaSettings):
    """Access to Kafka, and its timeouts."""

    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT",
        validation_alias="KAFKA_SECURITY_PROTOCOL",
        description="Encryption (SSL) and authentication (SASL) of connections.",
    )
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256"] = Field(
        default="SCRAM-SHA-512",
        validation_alias="KAFKA_SASL_MECHANISM",
        description="SASL mechanism; used with the SASL protocols.",
    )
    kafka_username: str | None = Field(
        default=None,
        validation_alias="KAFKA_USERNAME",
        description="Kafka user; required by the SASL protocols.",
    )
    kafka_password: SecretStr | None = Field(
        default=None, validation_alias="KAFKA_PASSWORD", description="Password of the Kafka user."
    )
    kafka_ca_file: FilePath | None = Field(
        default=None,
        validation_alias="KAFKA_CA_FILE",
        description="PEM file with the CA of the brokers' certificates; the system's CAs if absent.",
    )
    kafka_client_id: str = Field(
        default="reprise",
        min_length=1,
        validation_alias="KAFKA_CLIENT_ID",
        description="Client id in Kafka's logs, metrics and quotas.",
    )
    kafka_topic_prefix: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]{0,100}$",
        validation_alias="KAFKA_TOPIC_PREFIX",
        description="Prefix of the topics' names in Kafka, such as shop., for installations that share a Kafka.",
    )
    kafka_partitions: int = Field(
        default=PARTITIONS,
        ge=1,
        validation_alias="KAFKA_PARTITIONS",
        description="Partitions of new topics of events and predictions; existing ones need at least as many.",
    )
    kafka_predictions_retention: Duration = Field(
        default=PREDICTIONS.retention,
        ge=timedelta(hours=1),
        validation_alias="KAFKA_PREDICTIONS_RETENTION",
        description="Retention of the topic of predictions, which the topics job declares, such as 3d.",
    )
    kafka_connect_seconds: float = Field(
        default=15.0,
        gt=0,
        validation_alias="KAFKA_CONNECT_SECONDS",
        description="Connect timeout in seconds.",
    )
    kafka_session_seconds: float = Field(
        default=10.0,
        ge=1,
        validation_alias="KAFKA_SESSION_SECONDS",
        description="Session timeout in seconds: without heartbeats for so long, a consumer loses its partitions.",
    )
    kafka_delivery_seconds: float = Field(
        default=30.0,
        ge=2,
        validation_alias="KAFKA_DELIVERY_SECONDS",
        description="Delivery timeout in seconds, after which the append of a record fails.",
    )

    def declared(self, topic: Topic) -> Topic:
        """Return a topic with its name, partitions and retention in Kafka."""
        is_predictions = topic.name == PREDICTIONS.name
        return replace(
            topic,
            name=self.kafka_topic_prefix + topic.name,
            partitions=self.kafka_partitions if topic.by_user else topic.partitions,
            retention=self.kafka_predictions_retention if is_predictions else topic.retention,
        )

    @field_validator("kafka_servers")
    @classmethod
    def _servers_are_addresses(cls, servers: str | None) -> str | None:
        for server in servers.split(",") if servers else []:
            host, _, port = server.strip().rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError(f"expected host:port, separated by commas; got {server.strip()!r}")
        return servers

    @model_validator(mode="after")
    def _sasl_has_a_user(self) -> Self:
        protocol = self.kafka_security_protocol
        if protocol.startswith("SASL"):
            if self.kafka_username is None or self.kafka_password is None:
                raise ValueError(
                    f"KAFKA_SECURITY_PROTOCOL={protocol} needs KAFKA_USERNAME and KAFKA_PASSWORD"
                )
        elif self.kafka_password is not None:
            raise ValueError(
                "KAFKA_PASSWORD is set but would not be used: set KAFKA_SECURITY_PROTOCOL=SASL_SSL, or unset it"
            )
        return self


class ClockSettings(ProcessSettings):
    """The contract on the clocks of those who write events."""

    max_clock_skew_seconds: float = Field(
        default=300.0,
        ge=0,
        le=MAX_CLOCK_SKEW_SECONDS,
        validation_alias="REPRISE_MAX_CLOCK_SKEW_SECONDS",
        description="Maximum time by which an event's timestamp may be later than its arrival, seconds; producer,"
        " materializer and archiver need the same.",
    )
    max_event_age_days: float = Field(
        default=3650.0,
        ge=0,
        validation_alias="REPRISE_MAX_EVENT_AGE_DAYS",
        description="Maximum age of an event at its arrival, days; 0 for no maximum. Producer, materializer and"
        " archiver need the same.",
    )

    @property
    def arrival_window(self) -> ArrivalWindow:
        """The allowed difference between an event's timestamp and its arrival."""
        return ArrivalWindow(self.max_clock_skew_seconds, self.max_event_age_days)


class MetadataSettings(ProcessSettings):
    """Which other fields of events are kept."""

    metadata_fields: str = Field(
        default="",
        pattern=f"^{METADATA_FIELDS_PATTERN}$",
        validation_alias="REPRISE_METADATA_FIELDS",
        description="Names of the fields that are kept in an event's metadata, separated by commas; other fields that"
        " the contract does not name, and other members of metadata, are dropped. Producer and archiver need the same.",
    )

    @property
    def kept_fields(self) -> frozenset[str]:
        """The names of ``metadata_fields``."""
        return frozenset(filter(None, self.metadata_fields.split(",")))


class EventLogSettings(KafkaAccessSettings):
    """Location and durability of the event log."""

    log_dir: Path = Field(
        default=Path("data/log"),
        validation_alias="REPRISE_LOG_DIR",
        description="Folder of the embedded log, shared by the processes of one machine.",
    )
    log_fsync: Literal["never", "always"] = Field(
        default="never",
        validation_alias="REPRISE_LOG_FSYNC",
        description="Whether the embedded log calls fsync before it acknowledges a batch; if never, a crash of the"
        " machine (not of a process) can lose the last records that no consumer has read.",
    )
    log_buffer_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=1024,
        validation_alias="REPRISE_LOG_BUFFER_BYTES",
        description="Maximum size of the producer's buffer in bytes; appends fail while it is full.",
    )
