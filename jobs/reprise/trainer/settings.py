"""Configuration of one training run."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import click
from pydantic import Field, FilePath, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from reprise.bundle.settings import TrustSettings
from reprise.events.event import METADATA_FIELDS_PATTERN
from reprise.runtime.durations import format_duration
from reprise.runtime.executor_settings import ExecutorSettings
from reprise.runtime.job_metrics import JobSettings
from reprise.runtime.settings import Duration, Durations
from reprise.trainer.threshold import parse_rule


class TrainerSettings(ExecutorSettings, TrustSettings, JobSettings):
    """What to train on, how, and where the bundle goes; ``TRAINER_*`` in the environment, or options."""

    model_config = SettingsConfigDict(env_prefix="TRAINER_")

    events: Path = Field(
        description="CSV, JSON, Excel or Parquet file of events, a folder of them, or a pattern."
    )
    out: str = Field(
        description="Model store: a folder, or a URL such as file://./models or s3://bucket/models."
    )
    signing_key_file: FilePath | None = Field(
        None,
        validation_alias="REPRISE_SIGNING_KEY_FILE",
        description="PEM file of the Ed25519 private key that signs the bundle; it is not signed if absent.",
    )
    horizon: Durations = Field(
        (timedelta(days=30),),
        description="How far ahead a purchase counts, such as 30d or 12h. Further horizons after commas, such as"
        " 30d,7d, get models of their own in the bundle; the first is the default of every answer.",
    )
    refund_window: Duration = Field(
        timedelta(0),
        ge=timedelta(0),
        description="A purchase that is returned within this time, such as 14d, does not count as bought; 0s counts"
        " every purchase.",
    )
    truth: Path | None = Field(
        None,
        description="CSV or Parquet of the true probability of each event (columns event_id and probability), as "
        "datagen writes it, to report how good any model could be.",
    )
    plan: Path = Field(Path("feature_repo/plan/plan.json"), description="The compiled feature plan.")
    seed: Annotated[int, click.IntRange(0, 2**32 - 1)] = Field(
        0, ge=0, lt=2**32, description="Seed of all randomness: same data, seed and memory limit, same model."
    )
    cv_folds: int = Field(
        3,
        ge=0,
        le=20,
        description="Folds of users that choose the forest's leaf size; 0 takes the default.",
    )
    threshold: float | None = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="Fixed probability from which a purchase is predicted, instead of a threshold rule.",
    )
    threshold_rule: str = Field(
        "f1",
        description="How the threshold is chosen on held-out probabilities: f1, the best F1; cost:FP,FN, the costs"
        " of a false alarm and of a missed purchase, such as cost:1,5; precision:SHARE, the lowest with at least this"
        " precision, such as precision:0.8; or top:PERCENT%, the rows with the highest probabilities, such as top:10%.",
    )
    learning_curve: bool = Field(
        False,
        description="Measure how good the model would be with fewer rows and a shorter history, for the card: six more"
        " forests.",
    )
    backtests: int = Field(
        0,
        ge=0,
        le=24,
        description="Number of backtests: models that are trained as they would have been one, two, … label windows"
        " ago, and judged on the label window after, for summary, card and metadata.json. Each takes as long as one"
        " model.",
    )
    slice_by: str = Field(
        "",
        pattern=f"^{METADATA_FIELDS_PATTERN}$",
        description="Columns of the events, or members of their metadata, by which the card shows the scores too,"
        " separated by commas: category,channel.",
    )
    max_rows: int = Field(
        1_000_000,
        ge=1_000,
        description="Maximum rows; larger inputs are sampled uniformly, and the report says so.",
    )
    memory_limit: str = Field(
        "4GiB",
        description="Memory limit of DuckDB, such as 2GiB; longer histories are computed in parts, and the rest spills"
        " to disk.",
    )
    jobs: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)),
        ge=1,
        description="Number of threads, by default all processors; the model does not depend on it.",
    )
    work_dir: Annotated[
        Path | None, click.Path(path_type=Path, exists=True, file_okay=False, writable=True)
    ] = Field(
        None,
        description="Folder for temporary files, 500 bytes or more for each event; by default the system's.",
    )
    rows_cache: Annotated[Path | None, click.Path(path_type=Path, file_okay=False, writable=True)] = Field(
        None,
        description="Directory that keeps the training rows of each day, and the states after the last, for the next"
        " training on a longer history of the same events. Give it one of its own: other files rows-*.parquet and"
        " states-*.parquet there are deleted.",
    )
    set_latest: bool = Field(
        True,
        description="Mark the bundle as the store's latest; ignored with a rollout, which decides what serves.",
    )
    keep_better_latest: bool = Field(
        True,
        description="Keep the store's latest instead, if the new model is shown to be worse than it on the same"
        " held-out rows.",
    )
    rollout: str | None = Field(
        None,
        pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        description="ModelRollout, name or namespace/name, whose candidate the bundle becomes unless it is shown to be"
        " worse than the baseline on the same held-out rows.",
    )
    rollout_candidate: str = Field(
        "trained",
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        max_length=63,
        description="Name of that candidate; added if the rollout has none of this name.",
    )
    rollout_percent: float | None = Field(
        None,
        gt=0,
        le=100,
        description="Final traffic of the candidate, percent of users. By default an existing candidate keeps its"
        " share, and a new one gets 50 or what the other candidates leave.",
    )

    @property
    def slices(self) -> tuple[str, ...]:
        """The names of ``slice_by``."""
        return tuple(filter(None, self.slice_by.split(",")))

    @property
    def default_horizon(self) -> timedelta:
        """The first horizon, which the evaluation, the gates and every answer by default are about."""
        return self.horizon[0]

    @property
    def further_horizons(self) -> tuple[timedelta, ...]:
        """The others."""
        return self.horizon[1:]

    @property
    def label_span(self) -> timedelta:
        """How long after a row its label is known."""
        return self.default_horizon + self.refund_window

    @property
    def label_text(self) -> str:
        """The horizon, and what a refund window leaves out."""
        refund = f", not returned within {format_duration(self.refund_window)}" if self.refund_window else ""
        return format_duration(self.default_horizon) + refund

    @field_validator("horizon")
    @classmethod
    def _horizons_are_positive_and_differ(cls, horizons: tuple[timedelta, ...]) -> tuple[timedelta, ...]:
        if min(horizons) < timedelta(seconds=1):
            raise ValueError("expected at least one second")
        if len(horizons) > 1 and any(each % timedelta(seconds=1) for each in horizons):
            raise ValueError("expected several horizons in whole seconds")
        if len(set(horizons)) != len(horizons):
            raise ValueError("expected each horizon once")
        return horizons

    @field_validator("threshold_rule")
    @classmethod
    def _threshold_rule_is_known_and_alone(cls, rule: str, info: ValidationInfo) -> str:
        parse_rule(rule)
        if rule != "f1" and info.data.get("threshold") is not None:
            raise ValueError(f"{rule} and a fixed threshold exclude each other")
        return rule
