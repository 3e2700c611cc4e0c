"""The backfill's configuration."""

from pathlib import Path

from pydantic import Field
from reprise_online.settings import OnlineStoreSettings


class BackfillSettings(OnlineStoreSettings):
    """The backfill's configuration."""

    plan: Path = Field(
        default=Path("feature_repo/plan/plan.json"),
        validation_alias="REPRISE_PLAN",
        description="The compiled feature plan.",
    )
