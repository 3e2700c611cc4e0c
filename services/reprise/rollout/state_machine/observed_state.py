"""The observed state of a rollout: everything that a decision is based on besides spec, status and time."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reprise.routing import ArmReport, RolloutEvidence, RoutingDocument, RoutingReport


@dataclass(frozen=True, slots=True)
class PodReport:
    """What a ready predictor has applied; ``report`` is ``None`` if it did not answer, ``problem`` says why."""

    pod: str
    report: RoutingReport | None
    problem: str = ""

    def arm(self, digest: str) -> ArmReport | None:
        """Return what the predictor reports of a bundle."""
        arms = self.report.arms if self.report is not None else ()
        return next((arm for arm in arms if arm.digest == digest), None)


@dataclass(frozen=True, slots=True)
class ArmMeasurement:
    """What one arm did within a window: answered and failed requests, and the number of probabilities in each bin.

    ``p99`` is the 99th percentile of its latency, seconds; ``None`` without requests.
    """

    answered: float = 0.0
    failed: float = 0.0
    p99: float | None = None
    scores: tuple[float, ...] = ()

    @property
    def requests(self) -> float:
        """All requests, answered or failed."""
        return self.answered + self.failed


@dataclass(frozen=True, slots=True)
class Measurement:
    """A candidate's arm beside the baseline's, in the window of the analysis.

    ``users`` are those of the candidate's arm since its weight was acknowledged, ``other_users`` those of all other
    arms; ``None`` if not known yet. ``counters`` is how many predictors have counted them, each for itself and anew
    after a restart: a user counts up to as many times.
    """

    candidate: ArmMeasurement
    baseline: ArmMeasurement
    users: float | None = None
    other_users: float | None = None
    counters: float = 1.0


@dataclass(frozen=True, slots=True)
class ObservedState:
    """What the operator observed at one moment.

    ``rollout`` is the resource, namespace/name, and ``generation`` its own; ``published`` is the document in Redis,
    ``rival`` another rollout that owns the predictors. ``untrusted`` has the reason by digest why a bundle may not be
    loaded. ``measurements`` has those that were due, by candidate, ``None`` if Prometheus did not answer.
    """

    rollout: str
    generation: int = 1
    annotations: Mapping[str, str] = field(default_factory=dict)
    published: RoutingDocument | None = None
    pods: tuple[PodReport, ...] = ()
    measurements: Mapping[str, Measurement | None] = field(default_factory=dict)
    evidence: RolloutEvidence | None = None
    rival: str | None = None
    untrusted: Mapping[str, str] = field(default_factory=dict)

    @property
    def newest_generation(self) -> int:
        """The newest generation of a document that is published or that a predictor has applied; 0 if none is."""
        applied = (pod.report.generation or 0 for pod in self.pods if pod.report is not None)
        return max(0 if self.published is None else self.published.generation, *applied, 0)

    def acknowledgements(self, fingerprint: str) -> int:
        """Return how many predictors have applied the document with this fingerprint."""
        return sum(pod.report is not None and pod.report.fingerprint == fingerprint for pod in self.pods)

    def all_acknowledge(self, fingerprint: str) -> bool:
        """Return whether there are predictors and all have applied the document with this fingerprint."""
        return bool(self.pods) and self.acknowledgements(fingerprint) == len(self.pods)

    def all_loaded(self, digest: str) -> bool:
        """Return whether the bundle may be loaded, and there are predictors and all have loaded it."""
        arms = [] if digest in self.untrusted else [pod.arm(digest) for pod in self.pods]
        return bool(arms) and all(arm is not None and arm.state == "loaded" for arm in arms)

    def refusal_of_baseline(self, digest: str) -> str | None:
        """Return why a predictor refuses the newest document, if it cannot load the document's baseline."""
        reports = ((pod.pod, pod.report) for pod in self.pods if pod.report is not None)
        return next(
            (f"{pod}: {report.refused}" for pod, report in reports if report.refused_baseline == digest), None
        )

    def load_failure(self, digest: str) -> str | None:
        """Return why a bundle is not trusted or a predictor cannot load it, ``None`` if there is no failure."""
        if digest in self.untrusted:
            return self.untrusted[digest]
        for pod in self.pods:
            arm = pod.arm(digest)
            if arm is not None and arm.state == "failed":
                return f"{pod.pod}: {arm.reason or 'no reason given'}"
        return None
