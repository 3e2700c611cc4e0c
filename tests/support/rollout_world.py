"""A small world for the rollout operator: predictors, measurements and a Kubernetes that obey at once."""

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from reprise.rollout.clients.kubernetes import Pod, Resource
from reprise.rollout.clients.prometheus import MeasurementQuery
from reprise.rollout.exceptions import ClusterError, ConflictError, MetricsError
from reprise.rollout.resource.spec import RolloutSpec
from reprise.rollout.resource.status import ResourceEvent
from reprise.rollout.state_machine.observed_state import ArmMeasurement, Measurement, PodReport
from reprise.routing import (
    ArmReport,
    CandidateEvidence,
    InvalidRoutingError,
    RolloutEvidence,
    RoutingDocument,
    RoutingReport,
)
from reprise.store.exceptions import StoreUnavailableError

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ROLLOUT = "shop/repurchase"


def digest(of: str) -> str:
    """Return a digest that is told from others by one character."""
    return "sha256:" + of * 64


BASE, NEW, OTHER = digest("a"), digest("b"), digest("c")


def spec(**parts: Any) -> RolloutSpec:
    """Return a spec with one candidate that goes to half of the users in three steps of a minute."""
    content: dict[str, Any] = {
        "baseline": {"digest": BASE},
        "candidates": [{"name": "forest", "digest": NEW, "trafficPercent": 50}],
        "steps": [{"trafficPercent": percent, "hold": "60s"} for percent in (1, 10, 50)],
        "analysis": {"interval": "15s", "window": "30s", "failureLimit": 2, "minSamples": 100},
    }
    return RolloutSpec.parse(content | parts)


GOOD = Measurement(
    candidate=ArmMeasurement(1000, 0, 0.002, (50.0,) * 20),
    baseline=ArmMeasurement(1000, 0, 0.002, (50.0,) * 20),
)
ERRING = Measurement(candidate=ArmMeasurement(900, 100, 0.002, (45.0,) * 20), baseline=GOOD.baseline)
SLOW = Measurement(candidate=ArmMeasurement(1000, 0, 2.0, (50.0,) * 20), baseline=GOOD.baseline)
GARBAGE = Measurement(
    candidate=ArmMeasurement(1000, 0, 0.002, (0.0,) * 19 + (1000.0,)), baseline=GOOD.baseline
)
NOTHING = Measurement(candidate=ArmMeasurement(), baseline=ArmMeasurement())


def with_users(measured: Measurement, weight: int, off: float = 1.0, total: int = 100_000) -> Measurement:
    """Return a measurement whose users are spread by a weight, or that times ``off``."""
    own = total * weight / 10_000 * off
    return Measurement(measured.candidate, measured.baseline, own, total - own)


@dataclass
class FakeStore:
    """Keeps a document, as Redis does, and the name of the key that signed it."""

    newest: RoutingDocument | None = None
    said: RolloutEvidence | None = None
    written: list[RoutingDocument] = field(default_factory=list)
    away: bool = False
    signing: str = ""
    signed: str = ""
    trusted: str | None = None

    def document(self) -> RoutingDocument | None:
        self._check()
        if self.newest is not None and self.trusted not in {None, self.signed}:
            raise InvalidRoutingError(RoutingDocument.KIND, ["no signature of it is by a key"])
        return self.newest

    def is_published(self, document: RoutingDocument) -> bool:
        self._check()
        return (self.newest, self.signed) == (document, self.signing)

    def publish_document(self, document: RoutingDocument, expires: timedelta | None = None) -> None:
        self._check()
        self.newest, self.signed = document, self.signing
        self.written.append(document)

    def evidence(self) -> RolloutEvidence | None:
        self._check()
        return self.said

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailableError("read", "redis is away")


def report_of(
    document: RoutingDocument | None, failed: Collection[str] = (), loading: Collection[str] = ()
) -> RoutingReport:
    """Return what a predictor reports that has applied a document, with the digests it cannot load or is loading."""
    if document is None:
        return RoutingReport(generation=None, fingerprint=None, rollout=None, arms=())
    arms = tuple(
        ArmReport(
            **arm.model_dump(exclude={"buckets"}),
            state="failed" if arm.digest in failed else "loading" if arm.digest in loading else "loaded",
            reason="sha256 differs" if arm.digest in failed else None,
        )
        for arm in document.arms
    )
    return RoutingReport(
        generation=document.generation, fingerprint=document.fingerprint, rollout=document.rollout, arms=arms
    )


@dataclass
class FakePredictors:
    """Apply the store's document as soon as they are asked."""

    store: FakeStore
    corrupt: set[str] = field(default_factory=set)
    loading: set[str] = field(default_factory=set)
    deaf: set[str] = field(default_factory=set)
    applied: dict[str, RoutingDocument | None] = field(default_factory=dict)

    def get_reports(self, pods: Sequence[Pod]) -> tuple[PodReport, ...]:
        return tuple(PodReport(pod.name, self._report(pod.name)) for pod in pods)

    def _report(self, pod: str) -> RoutingReport:
        newest, applied = self.store.newest, self.applied.get(pod)
        if pod not in self.deaf and applied is not None and newest is not None and newest.arms:
            baseline = newest.arms[0].digest
            if baseline in self.corrupt and baseline not in {arm.digest for arm in applied.arms}:
                report = report_of(applied, self.corrupt, self.loading)
                refusal = {"refused": "the baseline cannot be loaded", "refused_baseline": baseline}
                return report.model_copy(update=refusal)
        if pod not in self.deaf:
            self.applied[pod] = newest
        return report_of(self.applied.get(pod), self.corrupt, self.loading)


@dataclass
class FakeKubernetes:
    """Keeps resources as the API server does: with versions, and a generation that rises with the spec."""

    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[ResourceEvent] = field(default_factory=list)
    fail_writes: list[str] = field(default_factory=list)
    version: int = 0

    def apply(self, key: str, content: Mapping[str, Any]) -> None:
        found = self.resources.setdefault(key, {"generation": 0, "annotations": {}, "status": None})
        found |= {"spec": deepcopy(dict(content)), "generation": found["generation"] + 1}
        self._touch(key)

    def annotate(self, key: str, **annotations: str) -> None:
        self.resources[key]["annotations"] |= {
            f"reprise.dev/{name}": value for name, value in annotations.items()
        }
        self._touch(key)

    def rollouts(self) -> tuple[Resource, ...]:
        found = (self.rollout(*key.split("/")) for key in self.resources)
        return tuple(resource for resource in found if resource is not None)

    def rollout(self, namespace: str, name: str) -> Resource | None:
        found = self.resources.get(f"{namespace}/{name}")
        if found is None:
            return None
        return Resource(
            namespace=namespace,
            name=name,
            uid="uid",
            version=str(found["version"]),
            generation=found["generation"],
            annotations=dict(found["annotations"]),
            deleting=False,
            spec=deepcopy(found["spec"]),
            status=deepcopy(found["status"]),
        )

    def pods(self) -> tuple[Pod, ...]:
        return tuple(Pod(name, f"http://{name}") for name in ("predictor-0", "predictor-1"))

    def write_status(self, resource: Resource, status: Mapping[str, Any]) -> None:
        self._maybe_fail("status")
        found = self.resources[resource.key]
        if str(found["version"]) != resource.version:
            raise ConflictError(f"{resource.key} has changed")
        found["status"] = deepcopy(dict(status))
        self._touch(resource.key)

    def remove_annotations(self, resource: Resource, names: Sequence[str]) -> None:
        self._maybe_fail("annotations")
        for name in names:
            self.resources[resource.key]["annotations"].pop(name, None)
        self._touch(resource.key)

    def emit_event(self, resource: Resource, event: ResourceEvent) -> None:
        self._maybe_fail("event")
        self.events.append(event)

    def _touch(self, key: str) -> None:
        self.version += 1
        self.resources[key]["version"] = self.version

    def _maybe_fail(self, what: str) -> None:
        if what in self.fail_writes:
            raise ClusterError(f"{what}: the API server is away")


@dataclass
class FakeMetrics:
    default: Measurement | None = None

    def measure(self, query: MeasurementQuery) -> Measurement:
        if self.default is None:
            raise MetricsError("prometheus is away")
        return self.default


def evidence(
    verdict: Any, at: datetime, candidate: str = NEW, baseline: str = BASE, **other: Any
) -> RolloutEvidence:
    """Return what the outcomes job would say of the candidate ``forest``."""
    entry = CandidateEvidence(
        candidate="forest",
        candidate_digest=candidate,
        baseline_digest=baseline,
        verdict=verdict,
        metric="log_loss",
        estimate=0.1,
        lower=0.05,
        upper=0.2,
        alpha=0.05,
        baseline_n=1000,
        candidate_n=1000,
    )
    return RolloutEvidence(rollout=ROLLOUT, computed_at=at, candidates=(entry,), **other)
