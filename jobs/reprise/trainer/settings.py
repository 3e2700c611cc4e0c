"""Configuration of one training run."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator
from pydantic_settings import SettingsConfigDict

from reprise.runtime.durations import parse_duration
from reprise.runtime.job_metrics import JobSettings

Duration = Annotated[
    timedelta, BeforeValidator(lambda value: parse_duration(value) if isinstance(value, str) else value)
]


class TrainerSettings(JobSettings):
    """What to train on, how, and where the bundle goes; ``TRAINER_*`` in the environment, or options."""

    model_config = SettingsConfigDict(env_prefix="TRAINER_")

    events: Path = Field(description="CSV or Parquet file of events, a folder of them, or a pattern.")
    out: str = Field(
        description="Model store: a folder, or a URL such as file://./models or s3://bucket/models."
    )
    horizon: Duration = Field(
        timedelta(days=30), description="How far ahead a purchase counts, such as 30d or 12h."
    )
    truth: Path | None = Field(
        None,
        description="CSV or Parquet of the true probability of each event (event_id, probability), "
        "as datagen writes it, to report how good any model could be.",
    )
    plan: Path = Field(Path("feature_repo/plan/plan.json"), description="The compiled feature plan.")
    seed: int = Field(
        0, ge=0, lt=2**32, description="Of everything random: same data, same seed, same model."
    )
    cv_folds: int = Field(
        3,
        ge=0,
        le=20,
        description="Forward-chaining folds that choose the forest's grain; 0 takes the default.",
    )
    threshold: float | None = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="Probability from which a purchase is predicted; by default the one with the best F1 "
        "on the calibration rows.",
    )
    max_rows: int = Field(
        1_000_000, ge=1_000, description="Most rows used; more are sampled evenly, and the report says so."
    )
    memory_limit: str = Field(
        "4GiB", description="What DuckDB may hold in memory, such as 2GiB; the rest spills to disk."
    )
    jobs: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)),
        ge=1,
        description="Threads; the model does not depend on it. By default all of the machine's.",
    )
    work_dir: Path | None = Field(
        None,
        description="Folder for temporary files, several times the size of the events; the system's if absent.",
    )
    set_latest: bool = Field(
        True,
        description="Mark the bundle as the store's latest; never with a rollout, which decides what serves.",
    )
    rollout: str | None = Field(
        None,
        pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        description="ModelRollout, name or namespace/name, whose candidate the bundle becomes if it is not worse than"
        " the baseline on the same held-out rows.",
    )
    rollout_candidate: str = Field(
        "trained",
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        max_length=63,
        description="Name of that candidate; made where the rollout has none of it.",
    )
    rollout_percent: float | None = Field(
        None,
        gt=0,
        le=100,
        description="Share of the users that the candidate has in the end, percent; by default what it has, and of"
        " a new one 50, or what the other candidates leave.",
    )
    rollout_brier_tolerance: float = Field(
        0.01, ge=0, description="How much higher its Brier score may be, as a part of the baseline's."
    )
    rollout_auc_tolerance: float = Field(0.005, ge=0, description="How much lower its ROC AUC may be.")

    @field_validator("horizon")
    @classmethod
    def _horizon_is_positive(cls, horizon: timedelta) -> timedelta:
        if horizon < timedelta(seconds=1):
            raise ValueError("expected at least one second")
        return horizon
