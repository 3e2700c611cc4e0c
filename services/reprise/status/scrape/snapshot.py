"""The state of every process at one moment."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import AliasPath, AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from reprise.routing import RoutingReport
from reprise.status.report import Level
from reprise.status.scrape.exposition import Labels, Samples


class ModelInfo(BaseModel):
    """The part of ``GET /model/info`` that the page shows; AUCs are those on all held-out rows."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    digest: str
    trained_at: AwareDatetime | None = Field(None, validation_alias=AliasPath("training", "trained_at"))
    data_until: AwareDatetime = Field(validation_alias=AliasPath("data", "last"))
    events: int = Field(validation_alias=AliasPath("data", "events"))
    rows: int = Field(validation_alias=AliasPath("evaluation", "overall", "rows"))
    auc: float | None = Field(validation_alias=AliasPath("evaluation", "overall", "model", "roc_auc"))
    oracle: float | None = Field(
        None, validation_alias=AliasPath("evaluation", "overall", "oracle", "roc_auc")
    )
    baselines: dict[str, float] = Field({}, validation_alias=AliasPath("evaluation", "overall", "baselines"))

    @field_validator("baselines", mode="before")
    @classmethod
    def _aucs(cls, baselines: Any) -> dict[str, Any]:
        found = {name: scores.get("roc_auc") for name, scores in sorted(baselines.items())}
        return {name: auc for name, auc in found.items() if auc is not None}


class Alert(BaseModel):
    """An alert of Prometheus' ``/api/v1/alerts``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(validation_alias=AliasPath("labels", "alertname"))
    namespace: str = Field("", validation_alias=AliasPath("labels", "namespace"))
    severity: str = Field("", validation_alias=AliasPath("labels", "severity"))
    summary: str = Field("", validation_alias=AliasPath("annotations", "summary"))
    runbook_url: str = Field("", validation_alias=AliasPath("annotations", "runbook_url"))
    state: str

    @property
    def level(self) -> Level:
        """How the page shows it."""
        return "bad" if self.severity == "critical" else "watch"

    @property
    def section(self) -> str:
        """Anchor in docs/operations.md that says what to do."""
        return self.runbook_url.partition("#")[2]


class AlertList(BaseModel):
    """The response of Prometheus' ``/api/v1/alerts``."""

    alerts: tuple[Alert, ...] = Field(validation_alias=AliasPath("data", "alerts"))


@dataclass(frozen=True)
class ProcessSnapshot:
    """One process at a host and port; ``problem`` says why it has no samples, and ``reason`` why it is not ready."""

    address: str
    samples: Samples | None = None
    problem: str | None = None
    ready: bool = False
    reason: str | None = None
    routing: RoutingReport | None = None

    def age(self, now: float) -> float | None:
        """Return the seconds since the process started."""
        started = None if self.samples is None else self.samples.one("process_start_time_seconds")
        return None if started is None else max(0.0, now - started)

    @property
    def model(self) -> str | None:
        """Digest of the default model: a rollout's baseline, or the configured one."""
        if self.routing is not None and self.routing.arms:
            return self.routing.arms[0].digest
        if self.samples is None:
            return None
        return next(
            (labels["digest"] for labels, _ in self.samples.all("reprise_predictor_model_info")), None
        )


@dataclass(frozen=True)
class ServiceSnapshot:
    """The processes at the targets of one service, and why a target has none."""

    name: str
    processes: tuple[ProcessSnapshot, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def answering(self) -> tuple[ProcessSnapshot, ...]:
        """The processes with metrics."""
        return tuple(process for process in self.processes if process.samples is not None)


@dataclass(frozen=True)
class Snapshot:
    """The platform at ``at`` seconds since 1970, with the services in the order of the targets.

    ``jobs`` are the metrics in the Pushgateway, ``models`` the known models by digest, and ``alerts`` those that fire:
    ``None`` if Prometheus is not configured or, as the problem says, does not answer.
    """

    at: float
    services: tuple[ServiceSnapshot, ...]
    jobs: Samples | None = None
    jobs_problem: str | None = None
    models: Mapping[str, ModelInfo] = field(default_factory=dict)
    alerts: tuple[Alert, ...] | None = None
    alerts_problem: str | None = None

    def service(self, name: str) -> ServiceSnapshot | None:
        """Return a service, ``None`` if it is no target."""
        return next((service for service in self.services if service.name == name), None)

    def answering(self, service: str) -> tuple[ProcessSnapshot, ...]:
        """Return the processes of a service that have metrics."""
        found = self.service(service)
        return () if found is None else found.answering

    def series(self, service: str, name: str, **labels: str) -> Iterator[tuple[Labels, float]]:
        """Give such series of every process of a service."""
        for process in self.answering(service):
            assert process.samples is not None
            yield from process.samples.all(name, **labels)
