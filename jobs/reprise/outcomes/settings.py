"""Settings of the outcomes job."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import click
from pydantic import AwareDatetime, Field, FilePath, field_validator
from pydantic_settings import SettingsConfigDict

from reprise.archive.settings import OfflineStoreSettings
from reprise.bundle.settings import ModelStoreSettings, TrustSettings
from reprise.routing.settings import RoutingTrustSettings
from reprise.runtime.durations import EPOCH, microseconds
from reprise.runtime.job_metrics import JobSettings
from reprise.runtime.settings import Duration
from reprise.store.settings import OnlineStoreSettings

_SENDER = "(authenticated|kafka|key:[A-Za-z0-9._-]{1,64})"


class OutcomesSettings(
    OnlineStoreSettings,
    OfflineStoreSettings,
    ModelStoreSettings,
    TrustSettings,
    RoutingTrustSettings,
    JobSettings,
):
    """Settings of the outcomes job: ``OUTCOMES_*`` in the environment, or options."""

    model_config = SettingsConfigDict(env_prefix="OUTCOMES_")

    out: str = Field(
        default="outcomes",
        min_length=1,
        description="Output of report.html, report.json, evidence.json and metrics.prom: a folder, or a URL.",
    )
    events: Annotated[Path | None, click.Path(exists=True, path_type=Path)] = Field(
        default=None,
        description="History from before the log, CSV or Parquet, if the online store was filled from it.",
    )
    horizon: Duration | None = Field(
        default=None,
        description="Time in which a purchase counts, such as 30d; by default the horizon of the arms' models.",
    )
    refund_window: Duration | None = Field(
        default=None,
        ge=timedelta(0),
        description="A purchase that is returned within this time does not count; by default the refund window of the"
        " arms' models.",
    )
    senders: str | None = Field(
        default=None,
        pattern=rf"^{_SENDER}(,{_SENDER})*$",
        description="Whose purchases and returns count, separated by commas: authenticated (all but events posted"
        " without an API key), kafka (events written to Kafka directly, and the history), key:NAME (events posted with"
        " this API key); everybody's if absent.",
    )
    early_horizon: Duration = Field(
        default=timedelta(days=1), description="Horizon of the early read of ranking metrics and conversion."
    )
    exposure: Duration = Field(
        default=timedelta(days=1),
        description="Time after a user's first prediction in which the user's predictions count in the test.",
    )
    lateness: Duration = Field(
        default=timedelta(minutes=15),
        description="Maximum delay until an event is archived. A horizon is over this long before the newest event.",
    )
    lookback: Duration = Field(default=timedelta(days=90), description="Maximum age of predictions.")
    since: AwareDatetime | None = Field(
        default=None,
        description="Last change of the weights, RFC 3339; by default the changes are detected from the predictions.",
    )
    alpha: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="Maximum probability that a confidence sequence ever misses the truth, per metric; divided by the"
        " number of candidates.",
    )
    conversion_relative_margin: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="Decrease of the share of users who buy that still counts as not worse, as a share of the"
        " baseline's.",
    )
    conversion_margin: float | None = Field(
        default=None,
        gt=0,
        description="The relative margin as an absolute decrease; takes precedence over it.",
    )
    brier_relative_margin: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="Increase of the Brier score that still counts as not worse, as a share of the baseline's.",
    )
    brier_margin: float | None = Field(
        default=None,
        gt=0,
        description="The relative margin as an absolute increase; takes precedence over it.",
    )
    min_users: int = Field(default=200, ge=30, description="Minimum users in each arm for a verdict.")
    min_conversions: int = Field(
        default=10,
        ge=1,
        description="Minimum users with a purchase for a verdict; in the test of two arms, those that the smaller arm"
        " would have at the rate of both.",
    )
    min_power: float = Field(
        default=0.8,
        ge=0.5,
        lt=1,
        description="Minimum power of the verdict not_worse: the probability that a loss as large as the margin would"
        " be called worse by now.",
    )
    draws: int = Field(default=200, ge=20, description="Bootstrap samples for the intervals of the metrics.")
    max_rows: int = Field(
        default=1_000_000,
        ge=1_000,
        description="Maximum predictions of an arm that are measured; beyond, users are sampled.",
    )
    rescore_rows: int = Field(
        default=200_000,
        ge=1_000,
        description="Maximum predictions that both models score again; beyond, users are sampled.",
    )
    check_rows: int = Field(
        default=5_000, ge=0, description="Sample of predictions whose features are recomputed; 0 for none."
    )
    check_window: Duration = Field(
        default=timedelta(days=1),
        description="Age of the predictions that are sampled, before the newest that can be checked; at least the"
        " interval of the job.",
    )
    in_flight: Duration = Field(
        default=timedelta(seconds=30),
        description="Maximum time of an event from the log to the online store; a value that differs while an event"
        " may have been in flight is excluded.",
    )
    drift_window: Duration = Field(
        default=timedelta(days=7),
        description="Window of predictions whose inputs are compared with training.",
    )
    drift_min_predictions: int = Field(
        default=1_000, ge=1, description="Minimum predictions of the model in the drift window."
    )
    drift_min_users: int = Field(
        default=200,
        ge=1,
        description="Minimum users in the drift window; with 200 users chance alone keeps the stability index of"
        " twenty bins below 0.25.",
    )
    drift_rows: int = Field(
        default=200_000,
        ge=1_000,
        description="Maximum predictions whose inputs are counted; beyond, they are sampled.",
    )
    publish: bool = Field(
        default=True, description="Read the routing document from Redis, and publish evidence there."
    )
    evidence_signing_key_file: FilePath | None = Field(
        default=None,
        validation_alias="REPRISE_EVIDENCE_SIGNING_KEY_FILE",
        description="PEM file of the private key that signs the evidence; not signed if absent.",
    )
    memory_limit: str = Field(
        default="2GiB", description="Memory limit of DuckDB, such as 2GiB; beyond, it spills to disk."
    )
    work_dir: Path | None = Field(
        default=None, description="Folder for temporary files; by default the system's."
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of samples.")

    @field_validator("early_horizon", "exposure", "drift_window", "check_window")
    @classmethod
    def _positive(cls, duration: timedelta) -> timedelta:
        if duration < timedelta(seconds=1):
            raise ValueError("expected at least one second")
        return duration

    @property
    def since_us(self) -> int | None:
        """``since`` in microseconds since 1970-01-01 UTC."""
        return None if self.since is None else microseconds(self.since - EPOCH)
