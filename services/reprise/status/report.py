"""The content of the page and of ``/status.json``."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Level = Literal["good", "watch", "bad"]
Unit = Literal["1/s", "s", "share", "events", "number", "age", "auc", "psi"]


class ReportModel(BaseModel):
    """Base of all parts of the report."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Figure(ReportModel):
    """One number, or why it is unknown."""

    value: float | None = None
    unit: Unit
    unknown: str | None = Field(None, description="Why there is no value.")


class Finding(ReportModel):
    """Something that is wrong."""

    level: Level
    sentence: str
    section: str = Field(description="Anchor in docs/operations.md that says what to do.")


class OverallStatus(ReportModel):
    """The state of the platform in one sentence."""

    level: Level
    sentence: str
    findings: tuple[Finding, ...] = Field((), description="The worst first.")


class Process(ReportModel):
    """One process of a service."""

    address: str
    version: str | None = None
    up_seconds: float | None = None
    ready: bool
    reason: str | None = Field(None, description="Why it is not ready, or has no metrics.")


class Service(ReportModel):
    """One service and its processes."""

    name: str
    processes: tuple[Process, ...] = ()
    answering: int = Field(description="Processes with metrics.")
    ready: int = Field(description="Processes that take requests.")
    problem: str | None = Field(None, description="Why no process is found.")


class Arm(ReportModel):
    """One arm of the applied rollout, or the only model."""

    name: str
    digest: str
    share: float = Field(description="Share of the users, 0 to 1.")
    shadow: bool = False
    loaded: int = Field(description="Predictors that have loaded its model.")
    of: int = Field(description="Predictors that answer.")
    reason: str | None = Field(None, description="Why a predictor has not loaded it.")
    answers: Figure
    psi: Figure


class Model(ReportModel):
    """The default model."""

    digest: str
    trained_at: datetime | None = None
    data_until: datetime | None = None
    events: int | None = None
    rows: int | None = None
    auc: Figure
    baselines: dict[str, float] = {}
    oracle: float | None = None


class Rollout(ReportModel):
    """The routing document that the predictors have applied."""

    rollout: str | None = None
    generation: int | None = None
    acknowledged: int = Field(0, description="Predictors that have applied the newest generation.")
    of: int = Field(0, description="Predictors that answer.")
    refused: str | None = Field(None, description="Why a predictor refuses the newest document.")


class Job(ReportModel):
    """The last run of a job."""

    name: str
    title: str
    unknown: str | None = Field(None, description="Why its last run is unknown.")
    ended_at: datetime | None = None
    took_seconds: float | None = None
    succeeded_at: datetime | None = None
    failed: bool = False
    notes: tuple[str, ...] = ()


class Report(ReportModel):
    """The state of the platform at one moment."""

    title: str
    at: datetime = Field(description="Time of the snapshot.")
    every_seconds: float
    covers_seconds: float = Field(description="Time span of curves and counts.")
    verdict: OverallStatus = OverallStatus(level="good", sentence="")
    services: tuple[Service, ...] = ()
    figures: dict[str, Figure] = {}
    curves: dict[str, tuple[float | None, ...]] = Field(
        {}, description="One value a snapshot, the oldest first."
    )
    model: Model | None = None
    model_unknown: str | None = None
    refused_model: str | None = Field(None, description="Digest of a model that a predictor refuses.")
    arms: tuple[Arm, ...] = ()
    rollout: Rollout = Rollout()
    jobs: tuple[Job, ...] = ()

    def value(self, name: str) -> float | None:
        """Return the value of a figure, ``None`` if it is unknown."""
        figure = self.figures.get(name)
        return None if figure is None else figure.value
