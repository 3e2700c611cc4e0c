"""The backfill's configuration."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from reprise.archive.settings import EventSourceSettings
from reprise.log import EventLogSettings
from reprise.runtime.executor_settings import ExecutorSettings
from reprise.runtime.job_metrics import JobSettings
from reprise.store.settings import DuplicateWindowSettings, OnlineStoreSettings


class BackfillSettings(
    ExecutorSettings,
    OnlineStoreSettings,
    DuplicateWindowSettings,
    EventLogSettings,
    EventSourceSettings,
    JobSettings,
):
    """The backfill's configuration; ``BACKFILL_*`` in the environment for its own fields."""

    model_config = SettingsConfigDict(env_prefix="BACKFILL_")

    plan: Path = Field(
        default=Path("feature_repo/plan/plan.json"),
        validation_alias="REPRISE_PLAN",
        description="The compiled feature plan.",
    )
