"""The state of every process at one moment."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import AwareDatetime, BaseModel, ConfigDict

from reprise.routing import RoutingReport
from reprise.status.scrape.exposition import Labels, Samples


class _PartialModel(BaseModel):
    """Part of a response; other fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ScoreInfo(_PartialModel):
    """Quality of a score on held-out rows."""

    roc_auc: float | None = None


class SliceInfo(_PartialModel):
    """Quality of the model, the baselines and the oracle on the same rows."""

    rows: int
    model: ScoreInfo
    baselines: dict[str, ScoreInfo] = {}
    oracle: ScoreInfo | None = None


class EvaluationInfo(_PartialModel):
    """The evaluation on all held-out rows."""

    overall: SliceInfo


class DataInfo(_PartialModel):
    """The training data."""

    events: int
    last: AwareDatetime


class TrainingInfo(_PartialModel):
    """The training run."""

    trained_at: AwareDatetime | None = None


class ModelInfo(_PartialModel):
    """Part of ``GET /model/info``."""

    digest: str
    evaluation: EvaluationInfo
    data: DataInfo
    training: TrainingInfo = TrainingInfo()


@dataclass(frozen=True)
class ProcessSnapshot:
    """One process.

    Attributes:
        address: Host and port.
        samples: Its metrics, unless there is a problem.
        problem: Why its metrics are unavailable.
        ready: Whether it takes requests.
        reason: Why it is not ready.
        routing: A predictor's routing report.
    """

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

    def all(self, name: str, **labels: str) -> Iterator[tuple[Labels, float]]:
        """Give such series of every process."""
        for process in self.processes:
            if process.samples is not None:
                yield from process.samples.all(name, **labels)


@dataclass(frozen=True)
class Snapshot:
    """The platform at one moment.

    Attributes:
        at: Seconds since 1970.
        services: The services, in the order of the targets.
        jobs: The metrics in the Pushgateway.
        jobs_problem: Why these are unavailable.
        models: The known models by digest.
    """

    at: float
    services: tuple[ServiceSnapshot, ...]
    jobs: Samples | None = None
    jobs_problem: str | None = None
    models: Mapping[str, ModelInfo] = field(default_factory=dict)

    def service(self, name: str) -> ServiceSnapshot | None:
        """Return a service, ``None`` if it is no target."""
        return next((service for service in self.services if service.name == name), None)

    def series(self, service: str, name: str, **labels: str) -> Iterator[tuple[Labels, float]]:
        """Give such series of every process of a service."""
        found = self.service(service)
        if found is not None:
            yield from found.all(name, **labels)

    def processes(self) -> Iterator[tuple[str, ProcessSnapshot]]:
        """Give every process with its service's name."""
        for service in self.services:
            for process in service.processes:
                yield service.name, process
