"""The backfill's configuration."""

from pathlib import Path

from pydantic import Field

from reprise.archive.settings import EventSourceSettings
from reprise.log import EventLogSettings
from reprise.runtime.job_metrics import JobSettings
from reprise.store.settings import DuplicateWindowSettings, OnlineStoreSettings


class BackfillSettings(
    OnlineStoreSettings, DuplicateWindowSettings, EventLogSettings, EventSourceSettings, JobSettings
):
    """The backfill's configuration."""

    plan: Path = Field(
        default=Path("feature_repo/plan/plan.json"),
        validation_alias="REPRISE_PLAN",
        description="The compiled feature plan.",
    )
