"""The outcomes job's configuration."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator, Field, field_validator
from pydantic_settings import SettingsConfigDict

from reprise.runtime.durations import microseconds, parse_duration
from reprise.runtime.job_metrics import JobSettings
from reprise.store.settings import OnlineStoreSettings

Duration = Annotated[
    timedelta, BeforeValidator(lambda value: parse_duration(value) if isinstance(value, str) else value)
]


class OutcomesSettings(OnlineStoreSettings, JobSettings):
    """What to judge, how, and where to say so; ``OUTCOMES_*`` in the environment, or options."""

    model_config = SettingsConfigDict(env_prefix="OUTCOMES_")

    offline_store: str = Field(
        default="data/offline",
        min_length=1,
        validation_alias="REPRISE_OFFLINE_STORE",
        description="The offline store: a folder, or a URL such as s3://bucket/offline.",
    )
    model_store: str = Field(
        default="models",
        min_length=1,
        validation_alias="MODEL_STORE",
        description="Where the model bundles are: a path, or any URL of fsspec, such as s3://bucket/models.",
    )
    out: str = Field(
        default="outcomes",
        min_length=1,
        description="Where report.html, report.json, evidence.json and metrics.prom go: a folder, or a URL.",
    )
    events: Path | None = Field(
        default=None,
        description="History from before the log began, CSV or Parquet; states that were filled from it need it here.",
    )
    horizon: Duration | None = Field(
        default=None,
        description="How far ahead a purchase counts, such as 30d; by default what the arms' models predict.",
    )
    early_horizon: Duration = Field(
        default=timedelta(days=1),
        description="Horizon of the early read, which ranks and counts buyers long before the horizon is over.",
    )
    exposure: Duration = Field(
        default=timedelta(days=1),
        description="How long after a user's first prediction its predictions make up the user's value in the test.",
    )
    lateness: Duration = Field(
        default=timedelta(minutes=15),
        description="How late an event may be archived: a horizon that ended less than this before the newest"
        " archived event is not over yet.",
    )
    lookback: Duration = Field(
        default=timedelta(days=90), description="How old the oldest prediction is that is looked at."
    )
    since: AwareDatetime | None = Field(
        default=None,
        description="When the shares were last changed, RFC 3339; by default it is found in the predictions.",
    )
    alpha: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="Chance, at most, that a candidate's confidence sequence ever misses the truth, per metric;"
        " candidates share it.",
    )
    brier_margin: float = Field(
        default=0.001, gt=0, description="How much higher a Brier score is still called not worse."
    )
    conversion_margin: float = Field(
        default=0.01, gt=0, description="By how much fewer users may buy, as a share of all, to be not worse."
    )
    min_users: int = Field(default=200, ge=30, description="Users in each arm before the test says anything.")
    draws: int = Field(
        default=200, ge=20, description="How often users are drawn anew for the intervals of the measures."
    )
    max_rows: int = Field(
        default=1_000_000,
        ge=1_000,
        description="Most predictions of an arm that are measured; of more, users are sampled, and the report says so.",
    )
    rescore_rows: int = Field(
        default=200_000,
        ge=1_000,
        description="Most predictions that both models score anew; of more, users are sampled, and the report says so.",
    )
    check_rows: int = Field(
        default=5_000,
        ge=0,
        description="How many predictions have their features recomputed; drawn evenly by their place in the log.",
    )
    check_window: Duration = Field(
        default=timedelta(days=1),
        description="How far back from the newest prediction that can be checked these are drawn: at least as long as"
        " the time between two runs, and what was mended is forgotten after it.",
    )
    in_flight: Duration = Field(
        default=timedelta(seconds=30),
        description="How long an event may take from the log to the online store; differences that events explain"
        " which arrived later than this before the answer, or after it, are no mismatches.",
    )
    drift_window: Duration = Field(
        default=timedelta(days=7),
        description="How far back from the newest prediction the inputs are compared with those of training.",
    )
    drift_min_predictions: int = Field(
        default=1_000,
        ge=1,
        description="Predictions of the model in the window before its inputs are compared.",
    )
    drift_min_users: int = Field(
        default=200,
        ge=1,
        description="Users of these predictions before inputs are compared: of 200 users, chance alone keeps the"
        " stability index of twenty bins below 0.25.",
    )
    drift_rows: int = Field(
        default=200_000,
        ge=1_000,
        description="Most predictions whose inputs are counted; of more, some are drawn, and the report says so.",
    )
    publish: bool = Field(
        default=True,
        description="Whether to read the routing document from Redis and to publish evidence beside it.",
    )
    memory_limit: str = Field(
        default="2GiB", description="What DuckDB may hold in memory, such as 2GiB; the rest spills to disk."
    )
    work_dir: Path | None = Field(
        default=None, description="Folder for temporary files; the system's if absent."
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Of everything random.")

    @field_validator("early_horizon", "exposure", "drift_window", "check_window")
    @classmethod
    def _positive(cls, duration: timedelta) -> timedelta:
        if duration < timedelta(seconds=1):
            raise ValueError("expected at least one second")
        return duration

    @property
    def since_us(self) -> int | None:
        """``since`` in microseconds since 1970-01-01 UTC."""
        if self.since is None:
            return None
        return microseconds(self.since - datetime(1970, 1, 1, tzinfo=UTC))
