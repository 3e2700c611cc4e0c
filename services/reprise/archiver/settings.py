"""The archiver's configuration."""

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from reprise.archive.settings import OfflineStoreSettings
from reprise.log import ClockSettings, EventLogSettings, MetadataSettings
from reprise.runtime.job_metrics import JobSettings
from reprise.runtime.settings import ApiSettings, Duration, port_field

_DAY_SECONDS = 86_400


class ArchiverSettings(
    ApiSettings, EventLogSettings, OfflineStoreSettings, ClockSettings, MetadataSettings, JobSettings
):
    """The archiver's configuration."""

    model_config = SettingsConfigDict(env_prefix="ARCHIVER_")

    api_port: int = port_field(8003, "TCP port of health, readiness and metrics.")
    group: str = Field(
        default="archiver",
        min_length=1,
        description="Prefix of the consumer groups, one per topic, such as archiver-ecommerce-events, so that each"
        " rebalances on its own.",
    )
    segment_records: int = Field(
        default=50_000, ge=1, description="A segment ends before offsets that are multiples of this number."
    )
    segment_bytes: int = Field(
        default=16 * 1024 * 1024,
        ge=1,
        description="A segment ends once its keys and values reach this many bytes.",
    )
    window_seconds: int = Field(
        default=300,
        ge=1,
        le=_DAY_SECONDS,
        description="Maximum seconds of log time in a segment; a divisor of a day.",
    )
    grace_seconds: float = Field(
        default=5.0,
        ge=0,
        description="Seconds to wait for late records after the end of a segment's time window.",
    )
    batch_records: int = Field(default=5_000, ge=1, description="Maximum records per poll.")
    poll_seconds: float = Field(default=0.5, gt=0, description="Poll timeout in seconds.")
    retry_seconds: float = Field(
        default=1.0,
        gt=0,
        description="Retry interval in seconds while the log or the store is unavailable.",
    )
    stop_seconds: float = Field(
        default=20.0, gt=0, description="Maximum time in seconds to finish the current segment after SIGTERM."
    )

    predictions_retention: Duration | None = Field(
        default=None,
        description="Age, such as 400d, from which --compact removes archived predictions; kept if absent. The"
        " outcomes job reads those of OUTCOMES_LOOKBACK, 90d.",
    )

    @field_validator("window_seconds")
    @classmethod
    def _divides_the_day(cls, seconds: int) -> int:
        if _DAY_SECONDS % seconds:
            raise ValueError(f"expected a divisor of {_DAY_SECONDS}, so that no segment spans two days")
        return seconds
