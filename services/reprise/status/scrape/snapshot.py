"""What one look at the platform found."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import AwareDatetime, BaseModel, ConfigDict

from reprise.routing import RoutingReport
from reprise.status.scrape.exposition import Labels, Samples


class _Part(BaseModel):
    """What is read of an answer that has more in it."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ScoreInfo(_Part):
    """How good a score is on held-out rows."""

    roc_auc: float | None = None


class SliceInfo(_Part):
    """The model and what it is held against, on the same rows."""

    rows: int
    model: ScoreInfo
    baselines: dict[str, ScoreInfo] = {}
    oracle: ScoreInfo | None = None


class EvaluationInfo(_Part):
    """The report on all held-out rows."""

    overall: SliceInfo


class DataInfo(_Part):
    """What the model was trained from."""

    events: int
    last: AwareDatetime


class TrainingInfo(_Part):
    """When the model was trained."""

    trained_at: AwareDatetime | None = None


class ModelInfo(_Part):
    """What is taken of ``GET /model/info``."""

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
        problem: Why it has told nothing.
        ready: Whether it takes requests.
        reason: Why it does not.
        routing: What it says of the routing document; of predictors only.
    """

    address: str
    samples: Samples | None = None
    problem: str | None = None
    ready: bool = False
    reason: str | None = None
    routing: RoutingReport | None = None

    def age(self, now: float) -> float | None:
        """Return for how many seconds the process has run."""
        started = None if self.samples is None else self.samples.one("process_start_time_seconds")
        return None if started is None else max(0.0, now - started)

    @property
    def model(self) -> str | None:
        """Digest of the model that answers wherever no other arm does: a rollout's baseline, or the configured one."""
        if self.routing is not None and self.routing.arms:
            return self.routing.arms[0].digest
        if self.samples is None:
            return None
        return next(
            (labels["digest"] for labels, _ in self.samples.all("reprise_predictor_model_info")), None
        )


@dataclass(frozen=True)
class ServiceSnapshot:
    """The processes of one service.

    Attributes:
        name: The service.
        processes: Those that its targets stand for.
        problems: Why a target stands for none.
    """

    name: str
    processes: tuple[ProcessSnapshot, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def answering(self) -> tuple[ProcessSnapshot, ...]:
        """The processes whose metrics are there."""
        return tuple(process for process in self.processes if process.samples is not None)

    def all(self, name: str, **labels: str) -> Iterator[tuple[Labels, float]]:
        """Give such series of every process."""
        for process in self.processes:
            if process.samples is not None:
                yield from process.samples.all(name, **labels)


@dataclass(frozen=True)
class Snapshot:
    """Everything that was found at one moment.

    Attributes:
        at: When, seconds since 1970.
        services: The services, in the order of the targets.
        jobs: What the Pushgateway keeps.
        jobs_problem: Why that is not known.
        models: What is known of models, by digest.
    """

    at: float
    services: tuple[ServiceSnapshot, ...]
    jobs: Samples | None = None
    jobs_problem: str | None = None
    models: Mapping[str, ModelInfo] = field(default_factory=dict)

    def service(self, name: str) -> ServiceSnapshot | None:
        """Return a service, if it is among the targets."""
        return next((service for service in self.services if service.name == name), None)

    def processes(self) -> Iterator[tuple[str, ProcessSnapshot]]:
        """Give every process with its service's name."""
        for service in self.services:
            for process in service.processes:
                yield service.name, process
