"""The materializer's configuration."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from reprise.log import EventLogSettings
from reprise.runtime.settings import ApiSettings
from reprise.store.settings import OnlineStoreSettings


class MaterializerSettings(ApiSettings, EventLogSettings, OnlineStoreSettings):
    """The materializer's configuration."""

    model_config = SettingsConfigDict(env_prefix="MATERIALIZER_")

    api_port: int = Field(
        default=8002,
        ge=0,
        le=65535,
        validation_alias="API_PORT",
        description="TCP port of health, readiness and metrics.",
    )
    plan: Path = Field(
        default=Path("feature_repo/plan/plan.json"),
        validation_alias="REPRISE_PLAN",
        description="The compiled feature plan.",
    )
    group: str = Field(default="materializer", min_length=1, description="Consumer group in the event log.")
    batch_records: int = Field(
        default=8000, ge=1, description="Most records of all partitions that are folded before a commit."
    )
    poll_seconds: float = Field(default=0.5, gt=0, description="Seconds to wait for records at a time.")
    duplicate_window_seconds: float = Field(
        default=86_400.0,
        gt=0,
        description="Seconds for which the id of an event is remembered, to drop its duplicates.",
    )
    retry_seconds: float = Field(
        default=1.0,
        gt=0,
        description="Seconds to wait before folding again after the log or the store was away.",
    )
    stop_seconds: float = Field(
        default=20.0, gt=0, description="Seconds that the batch under way may take after SIGTERM."
    )
