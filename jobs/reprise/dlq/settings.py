"""Settings of the ``dlq`` commands."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from reprise.log import EventLogSettings, MetadataSettings


class DlqSettings(EventLogSettings, MetadataSettings):
    """Settings of the ``dlq`` commands."""

    model_config = SettingsConfigDict(env_prefix="DLQ_")

    group: str = Field(
        default="dlq",
        min_length=1,
        description="Consumer group that reads the dead letters; commits nothing.",
    )
    timeout_seconds: float = Field(
        default=60.0, gt=0, description="Maximum wait for the log to answer, seconds."
    )
