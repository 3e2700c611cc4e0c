"""Configuration of the predictor."""

import re
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from reprise.bundle.settings import TrustSettings
from reprise.events.event import EVENT_TYPE_PATTERN
from reprise.log.settings import EventLogSettings
from reprise.routing.settings import RoutingTrustSettings
from reprise.runtime.settings import ApiSettings, KeySettings, TraceSettings, UserIdSettings
from reprise.store.settings import OnlineStoreSettings

LATEST = "latest"
_EVENT_TYPE = re.compile(EVENT_TYPE_PATTERN)


class PredictorSettings(
    ApiSettings,
    KeySettings,
    OnlineStoreSettings,
    EventLogSettings,
    TrustSettings,
    RoutingTrustSettings,
    TraceSettings,
    UserIdSettings,
):
    """Settings of one predictor process."""

    model_config = SettingsConfigDict(env_prefix="PREDICTOR_")

    model_store: str = Field(
        validation_alias="MODEL_STORE",
        min_length=1,
        description="Model store: a path or an fsspec URL, such as s3://bucket/models.",
    )
    model_digest: str = Field(
        LATEST,
        validation_alias="MODEL_DIGEST",
        pattern=r"^(latest|sha256:[0-9a-f]{64})$",
        description="Bundle to serve: sha256:… or latest, which follows the store's pointer.",
    )
    model_reload_seconds: float = Field(
        5.0,
        ge=0,
        validation_alias="MODEL_RELOAD_SECONDS",
        description="Interval of polling for a newer model, seconds; 0 loads a model at start only.",
    )
    routing_seconds: float = Field(
        1.0,
        ge=0,
        description="Interval of polling for a rollout's routing document, seconds; 0 turns it off, so the configured "
        "model answers everybody.",
    )
    slowest_row_seconds: float = Field(
        0.25,
        gt=0,
        description="Maximum duration of scoring one row, measured when the model of an arm is loaded, seconds; a "
        "slower model is refused, because it would delay the users of every arm.",
    )
    rehearsal_seconds: float = Field(
        30.0,
        ge=0,
        description="Timeout of the child process that loads a new model first and scores a batch, seconds; 0 loads "
        "models without it.",
    )
    rehearsal_memory_bytes: int | None = Field(
        None,
        ge=128 * 1024 * 1024,
        description="Maximum memory of that process, bytes; a model that takes more is refused. By default 192 MiB and "
        "24 times the size of its largest graph.",
    )
    shadow_capacity: int = Field(
        2048, ge=1, description="Maximum queue of shadow scores; more are dropped and counted."
    )
    redis_deadline_seconds: float = Field(
        0.25, gt=0, le=10, description="Timeout of one read of the online store, seconds."
    )
    deadline_seconds: float = Field(
        0.5, gt=0, description="Deadline of a single prediction, seconds; after it the response is 503."
    )
    batch_deadline_seconds: float = Field(
        5.0, gt=0, description="Deadline of the reads of a batch, seconds; after it the response is 503."
    )
    max_in_flight: int = Field(
        256, ge=1, description="Maximum single requests in flight; more are answered 503."
    )
    max_batches_in_flight: int = Field(
        8, ge=1, description="Maximum batches in flight; more are answered 503."
    )
    circuit_failures: int = Field(
        5, ge=1, description="Consecutive failed reads that open the circuit breaker of the online store."
    )
    circuit_seconds: float = Field(
        0.5, gt=0, description="Interval between trial reads while the circuit breaker is open, seconds."
    )
    redis_connections: int = Field(2, ge=1, le=64, description="Connections to the online store.")
    redis_ping_seconds: float = Field(
        1.0, gt=0, description="Interval of pinging the online store for readiness, seconds."
    )
    retry_after_seconds: float = Field(1.0, gt=0, description="Value of Retry-After in a 503, seconds.")
    max_batch: int = Field(1000, ge=1, le=100_000, description="Maximum predictions in one batch request.")
    max_body_bytes: int = Field(
        2 * 1024 * 1024, ge=1024, description="Maximum size of a request body, bytes."
    )
    arrival_seconds: float = Field(
        10.0, gt=0, description="Request timeout: from the first to the last byte of a request, seconds."
    )
    prediction_log: bool | None = Field(
        None,
        description="Whether predictions are appended to the topic ecommerce-predictions; by default if "
        "KAFKA_SERVERS is set.",
    )
    prediction_log_capacity: int = Field(
        4096, ge=1, description="Maximum queue of predictions to append; more are dropped and counted."
    )
    prediction_log_flush_seconds: float = Field(
        5.0, gt=0, description="Maximum wait for queued predictions at shutdown, seconds."
    )
    log_buffer_bytes: int = Field(
        8 * 1024 * 1024,
        ge=1024,
        validation_alias="REPRISE_LOG_BUFFER_BYTES",
        description="Maximum size of records that wait for acknowledgement, bytes; more are dropped.",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Separate TCP port for /metrics, without API keys; the API's port if absent.",
    )
    event_types: Annotated[tuple[str, ...], NoDecode] = Field(
        ("view", "purchase"), min_length=1, description="Accepted event types, separated by commas."
    )
    max_skew_seconds: float = Field(
        300.0, gt=0, description="Maximum difference between a request's timestamp and now, seconds."
    )
    drain_seconds: float = Field(
        0.0, ge=0, description="How long to keep serving, unready, after SIGTERM, seconds."
    )

    @property
    def logs_predictions(self) -> bool:
        """Whether predictions are appended to the prediction log."""
        return self.kafka_servers is not None if self.prediction_log is None else self.prediction_log

    @field_validator("event_types", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("event_types")
    @classmethod
    def _check_event_types(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if _EVENT_TYPE.fullmatch(name) is None:
                raise ValueError(f"expected lower-case names separated by commas, got {name!r}")
        return value
