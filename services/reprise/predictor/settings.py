"""Configuration of the predictor, by environment."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from reprise.log.settings import EventLogSettings
from reprise.runtime.settings import ApiSettings, TraceSettings
from reprise.store.settings import OnlineStoreSettings

LATEST = "latest"
_EVENT_TYPE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


class PredictorSettings(ApiSettings, OnlineStoreSettings, EventLogSettings, TraceSettings):
    """Settings of one predictor process."""

    model_config = SettingsConfigDict(env_prefix="PREDICTOR_")

    model_store: str = Field(
        validation_alias="MODEL_STORE",
        min_length=1,
        description="Where the model bundles are: a path, or any URL of fsspec, such as s3://bucket/models.",
    )
    model_digest: str = Field(
        default=LATEST,
        validation_alias="MODEL_DIGEST",
        pattern=r"^(latest|sha256:[0-9a-f]{64})$",
        description="The bundle to answer with: sha256:… or latest, which follows the store's pointer.",
    )
    model_reload_seconds: float = Field(
        default=5.0,
        ge=0,
        validation_alias="MODEL_RELOAD_SECONDS",
        description="How often to look for another model, seconds; 0 loads one at the start and keeps it.",
    )
    routing_seconds: float = Field(
        default=1.0,
        ge=0,
        description="How often to look for another routing document of a rollout, seconds; 0 never looks, so that "
        "the configured model answers everybody.",
    )
    slowest_row_seconds: float = Field(
        default=0.25,
        gt=0,
        description="Longest that the model of a rollout's arm may take for one row when it is loaded, seconds; one "
        "that takes longer is refused, because it would hold up the users of every arm.",
    )
    shadow_capacity: int = Field(
        default=2048,
        ge=1,
        description="Most scores of shadows that wait to be made; more are dropped and counted.",
    )
    redis_deadline_seconds: float = Field(
        default=0.25, gt=0, le=10, description="Longest that one read of the online store takes, seconds."
    )
    deadline_seconds: float = Field(
        default=0.5,
        gt=0,
        description="Longest that a single prediction may take before it is answered 503 instead, seconds.",
    )
    batch_deadline_seconds: float = Field(
        default=5.0,
        gt=0,
        description="Longest that the reads of a batch may take before it is answered 503, seconds.",
    )
    max_in_flight: int = Field(
        default=256, ge=1, description="Most single requests under way at once; one more is answered 503."
    )
    max_batches_in_flight: int = Field(
        default=8, ge=1, description="Most batches under way at once; one more is answered 503."
    )
    circuit_failures: int = Field(
        default=5,
        ge=1,
        description="Failed reads in a row after which the online store is left alone for a moment.",
    )
    circuit_seconds: float = Field(
        default=0.5,
        gt=0,
        description="How long a failing online store is left alone before a read tries it again, seconds.",
    )
    redis_connections: int = Field(
        default=2, ge=1, le=64, description="Connections to keep to the online store."
    )
    redis_ping_seconds: float = Field(
        default=1.0,
        gt=0,
        description="How often readiness asks the online store for a sign of life, seconds.",
    )
    retry_after_seconds: float = Field(
        default=1.0, gt=0, description="What Retry-After says while the service is unavailable, seconds."
    )
    max_batch: int = Field(
        default=1000, ge=1, le=100_000, description="Most predictions in one batch request."
    )
    max_body_bytes: int = Field(
        default=2 * 1024 * 1024, ge=1024, description="Largest body of a request, bytes."
    )
    arrival_seconds: float = Field(
        default=10.0,
        gt=0,
        description="Longest that a request may take to arrive, from its first byte to its last, seconds.",
    )
    prediction_log: bool | None = Field(
        default=None,
        description="Whether every answer is appended to the topic ecommerce-predictions; by default where "
        "KAFKA_SERVERS is set.",
    )
    prediction_log_capacity: int = Field(
        default=4096, ge=1, description="Most answers that wait to be appended; more are dropped and counted."
    )
    prediction_log_flush_seconds: float = Field(
        default=5.0,
        gt=0,
        description="How long the end of the process waits for what is not appended yet, seconds.",
    )
    log_buffer_bytes: int = Field(
        default=8 * 1024 * 1024,
        ge=1024,
        validation_alias="REPRISE_LOG_BUFFER_BYTES",
        description="Bytes of records that may wait for the log's acknowledgement before more are dropped.",
    )
    api_key_hashes: SecretStr | None = Field(
        default=None,
        description="SHA-256 digests of the API keys that are accepted, in hexadecimal, each alone or as "
        "name:digest, separated by commas. Without this and a file of them no key is asked for.",
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="File with such a digest a line, as a Secret is mounted; read again when it changes.",
    )
    rate_limit: float | None = Field(
        default=None,
        gt=0,
        description="Predictions a second that each API key may ask for; unlimited if absent.",
    )
    rate_burst: float = Field(
        default=1000.0, ge=1, description="Predictions that a key which was silent may ask for at once."
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="TCP port of its own for /metrics, without a key; if absent it is on the API's port.",
    )
    access_log: Literal["off", "on", "ids"] = Field(
        default="on",
        description="Whether each request is logged, and whether with the ids that it is about.",
    )
    event_types: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("view", "purchase"),
        min_length=1,
        description="Event types that a request may name, separated by commas.",
    )
    max_skew_seconds: float = Field(
        default=300.0,
        gt=0,
        description="How far a request's timestamp may be from now, in either direction, seconds.",
    )
    drain_seconds: float = Field(
        default=0.0,
        ge=0,
        description="How long to go on answering, unready, after SIGTERM before closing, seconds.",
    )

    @property
    def logs_predictions(self) -> bool:
        """Whether every answer is appended to the prediction log."""
        return self.kafka_servers is not None if self.prediction_log is None else self.prediction_log

    @property
    def api_keys(self) -> list[str]:
        """The entries of ``api_key_hashes``."""
        listed = self.api_key_hashes.get_secret_value() if self.api_key_hashes else ""
        return [entry.strip() for entry in listed.split(",") if entry.strip()]

    @model_validator(mode="after")
    def _limit_needs_keys(self) -> Self:
        if self.rate_limit is not None and not self.api_keys and self.api_keys_file is None:
            raise ValueError("PREDICTOR_RATE_LIMIT is for API keys, and none are configured")
        return self

    @field_validator("event_types", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("event_types")
    @classmethod
    def _event_types_are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if _EVENT_TYPE.fullmatch(name) is None:
                raise ValueError(f"expected lower-case names separated by commas, {name!r} is none")
        return value
