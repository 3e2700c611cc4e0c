"""What the page tells, and ``/status.json`` as well."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Level = Literal["good", "watch", "bad"]
Unit = Literal["1/s", "s", "share", "events", "number", "age", "auc", "psi"]


class Part(BaseModel):
    """Base of everything that is told."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Figure(Part):
    """One number, or why it is not known."""

    value: float | None = None
    unit: Unit
    unknown: str | None = Field(None, description="Why there is no value.")


class Finding(Part):
    """Something that is not as it should be."""

    level: Level
    sentence: str
    section: str = Field(description="Anchor in docs/operations.md that says what to do.")


class Verdict(Part):
    """How the platform is, in one sentence."""

    level: Level
    sentence: str
    findings: tuple[Finding, ...] = Field((), description="The worst first.")


class Process(Part):
    """One process of a service."""

    address: str
    version: str | None = None
    up_seconds: float | None = None
    ready: bool
    reason: str | None = Field(None, description="Why it is not ready, or tells nothing.")


class Service(Part):
    """One service, and the processes that are found of it."""

    name: str
    processes: tuple[Process, ...] = ()
    answering: int = Field(description="Processes that tell their metrics.")
    ready: int = Field(description="Processes that take requests.")
    problem: str | None = Field(None, description="Why no process is found.")


class Arm(Part):
    """One arm of the rollout that is applied, or the model that answers everybody."""

    name: str
    digest: str
    share: float = Field(description="Of the users, 0 to 1.")
    shadow: bool = False
    loaded: int = Field(description="Predictors that hold its model.")
    of: int = Field(description="Predictors that answer.")
    reason: str | None = Field(None, description="Why it is not loaded everywhere.")
    answers: Figure
    psi: Figure


class Model(Part):
    """The model that answers wherever no other arm does."""

    digest: str
    trained_at: datetime | None = None
    data_until: datetime | None = None
    events: int | None = None
    rows: int | None = None
    auc: Figure
    baselines: dict[str, float] = {}
    oracle: float | None = None


class Rollout(Part):
    """Which routing document the predictors have applied."""

    rollout: str | None = None
    generation: int | None = None
    acknowledged: int = Field(0, description="Predictors that have applied the newest generation.")
    of: int = Field(0, description="Predictors that answer.")
    refused: str | None = Field(None, description="Why a predictor does not apply the newest document.")


class Job(Part):
    """The last run of a job."""

    name: str
    title: str
    unknown: str | None = Field(None, description="Why nothing is known of it.")
    ended_at: datetime | None = None
    took_seconds: float | None = None
    succeeded_at: datetime | None = None
    failed: bool = False
    notes: tuple[str, ...] = ()


class Report(Part):
    """Everything that the page tells."""

    title: str
    at: datetime = Field(description="When the platform was looked at.")
    every_seconds: float
    covers_seconds: float = Field(description="How far back curves and counts go.")
    verdict: Verdict = Verdict(level="good", sentence="")
    services: tuple[Service, ...] = ()
    figures: dict[str, Figure] = {}
    curves: dict[str, tuple[float | None, ...]] = Field({}, description="One point a look, the oldest first.")
    model: Model | None = None
    model_unknown: str | None = None
    refused_model: str | None = Field(None, description="Digest of a model that a predictor refuses.")
    arms: tuple[Arm, ...] = ()
    rollout: Rollout = Rollout()
    jobs: tuple[Job, ...] = ()

    def value(self, name: str) -> float | None:
        """Return the value of a figure, ``None`` where it is not known."""
        figure = self.figures.get(name)
        return None if figure is None else figure.value
