"""The backfill's configuration."""

from pathlib import Path

from pydantic import Field

from reprise.log import EventLogSettings
from reprise.runtime.job_metrics import JobSettings
from reprise.store.settings import DuplicateWindowSettings, OnlineStoreSettings


class BackfillSettings(OnlineStoreSettings, DuplicateWindowSettings, EventLogSettings, JobSettings):
    """The backfill's configuration."""

    plan: Path = Field(
        default=Path("feature_repo/plan/plan.json"),
        validation_alias="REPRISE_PLAN",
        description="The compiled feature plan.",
    )
    offline_store: str | None = Field(
        default=None,
        min_length=1,
        validation_alias="REPRISE_OFFLINE_STORE",
        description="The offline store: a folder, or a URL such as s3://bucket/offline.",
    )
