"""The scoring job's configuration."""

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from reprise.archive.settings import EventSourceSettings
from reprise.bundle.settings import ModelStoreSettings, TrustSettings
from reprise.runtime.executor_settings import ExecutorSettings
from reprise.runtime.job_metrics import JobSettings
from reprise.runtime.settings import Duration, Durations


class ScoringSettings(ExecutorSettings, EventSourceSettings, ModelStoreSettings, TrustSettings, JobSettings):
    """Which model scores, and where the scores go; ``SCORING_*`` in the environment, or options."""

    model_config = SettingsConfigDict(env_prefix="SCORING_")

    out: str = Field(
        default="scores", min_length=1, description="Output: a folder, or a URL such as s3://bucket/scores."
    )
    model: str = Field(
        default="latest", description="Digest of the model, sha256:…; latest is the model store's latest."
    )
    horizon: Duration | None = Field(
        default=None,
        description="Horizon of scores and demand, such as 7d, one of the model's; by default the model's own.",
    )
    horizons: Durations = Field(
        default=(),
        description="Further horizons of the model, such as 7d,90d, for which a nightly run also writes scores and"
        " demand.",
    )
    format: Literal["parquet", "csv"] = Field(default="parquet", description="Format of the scores.")
    chunk: int = Field(
        default=500_000,
        ge=1,
        description="Pairs in one file, about; a file has all pairs of its users. A smaller number takes less memory.",
    )
    keep_days: int = Field(
        default=30,
        ge=0,
        description="Days for which a nightly run keeps the scores of earlier dates, which have ids of users; 0 keeps"
        " all.",
    )
    keep_campaign_days: int = Field(
        default=0,
        ge=0,
        description="Days for which a nightly run keeps campaigns of earlier dates, with the users written to; 0"
        " keeps all. The lift of a removed campaign can no longer be measured.",
    )
