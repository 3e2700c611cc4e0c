"""The archiver's configuration."""

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from reprise.log import EventLogSettings
from reprise.runtime.settings import ApiSettings

_DAY_SECONDS = 86_400


class ArchiverSettings(ApiSettings, EventLogSettings):
    """The archiver's configuration."""

    model_config = SettingsConfigDict(env_prefix="ARCHIVER_")

    api_port: int = Field(
        default=8003,
        ge=0,
        le=65535,
        validation_alias="API_PORT",
        description="TCP port of health, readiness and metrics.",
    )
    offline_store: str = Field(
        default="data/offline",
        min_length=1,
        validation_alias="REPRISE_OFFLINE_STORE",
        description="The offline store: a folder, or a URL such as s3://bucket/offline.",
    )
    group: str = Field(
        default="archiver",
        min_length=1,
        description="Name of the consumer groups: one for each topic, archiver-ecommerce-events and so on, so that"
        " a rebalance of one leaves the other alone.",
    )
    segment_records: int = Field(
        default=50_000, ge=1, description="A segment ends before offsets that are multiples of this."
    )
    segment_bytes: int = Field(
        default=16 * 1024 * 1024, ge=1, description="Bytes of records after which a segment ends."
    )
    window_seconds: int = Field(
        default=300,
        ge=1,
        le=_DAY_SECONDS,
        description="Seconds of log time that one segment spans at most; a divisor of a day.",
    )
    grace_seconds: float = Field(
        default=5.0,
        ge=0,
        description="Seconds to wait, after a window's end, for records that are on their way.",
    )
    batch_records: int = Field(default=5_000, ge=1, description="Most records that are read at a time.")
    poll_seconds: float = Field(default=0.5, gt=0, description="Seconds to wait for records at a time.")
    retry_seconds: float = Field(
        default=1.0,
        gt=0,
        description="Seconds to wait before trying again after the log or the store was away.",
    )
    stop_seconds: float = Field(
        default=20.0, gt=0, description="Seconds that the segment being written may take after SIGTERM."
    )

    @field_validator("window_seconds")
    @classmethod
    def _divides_the_day(cls, seconds: int) -> int:
        if _DAY_SECONDS % seconds:
            raise ValueError(f"expected a divisor of {_DAY_SECONDS}, so that no segment spans two days")
        return seconds
