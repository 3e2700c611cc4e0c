"""The materializer's configuration."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from reprise.log import ClockSettings, EventLogSettings
from reprise.runtime.settings import ApiSettings, port_field
from reprise.store.settings import DuplicateWindowSettings, OnlineStoreSettings


class MaterializerSettings(
    ApiSettings, EventLogSettings, ClockSettings, OnlineStoreSettings, DuplicateWindowSettings
):
    """The materializer's configuration."""

    model_config = SettingsConfigDict(env_prefix="MATERIALIZER_")

    api_port: int = port_field(8002, "TCP port of health, readiness and metrics.")
    plan: Path = Field(
        default=Path("feature_repo/plan/plan.json"),
        validation_alias="REPRISE_PLAN",
        description="The compiled feature plan.",
    )
    group: str = Field(default="materializer", min_length=1, description="Consumer group in the event log.")
    batch_records: int = Field(
        default=8000, ge=1, description="Maximum records of all partitions per batch and commit."
    )
    poll_seconds: float = Field(default=0.5, gt=0, description="Poll timeout in seconds.")
    retry_seconds: float = Field(
        default=1.0,
        gt=0,
        description="Retry interval in seconds while the log or the store is unavailable.",
    )
    stop_seconds: float = Field(
        default=20.0, gt=0, description="Maximum time in seconds to finish the current batch after SIGTERM."
    )
