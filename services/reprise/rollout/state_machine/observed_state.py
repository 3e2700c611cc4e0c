"""What is seen of the world at one moment, before anything is decided."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reprise.routing import RolloutEvidence, RoutingDocument, RoutingReport


@dataclass(frozen=True, slots=True)
class PodReport:
    """What a ready predictor says.

    Attributes:
        pod: Its name.
        report: What it has applied; ``None`` where it did not say.
        problem: Why it did not say.
    """

    pod: str
    report: RoutingReport | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ArmSample:
    """What one arm did within a window.

    Attributes:
        answered: Requests that it answered.
        failed: Requests that it could not answer.
        p99: 99th percentile of its time, seconds; ``None`` where it did nothing.
        scores: How many probabilities fell into each bin.
    """

    answered: float = 0.0
    failed: float = 0.0
    p99: float | None = None
    scores: tuple[float, ...] = ()

    @property
    def asked(self) -> float:
        """How many requests it was asked to answer."""
        return self.answered + self.failed


@dataclass(frozen=True, slots=True)
class Measurement:
    """A candidate beside the baseline.

    Attributes:
        candidate: The candidate's arm in the window of the analysis.
        baseline: The baseline's arm in the same window.
        users: Users of the candidate's arm since its share was acknowledged; ``None`` where nobody can say yet.
        other_users: Users of all the other arms since then.
    """

    candidate: ArmSample
    baseline: ArmSample
    users: float | None = None
    other_users: float | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that a decision is made from, besides the spec, the status and the time.

    Attributes:
        rollout: The resource, namespace/name.
        generation: The resource's generation.
        annotations: Its annotations.
        published: The routing document in the store.
        pods: What the ready predictors say.
        measurements: By candidate, those that were due; ``None`` where Prometheus did not answer.
        evidence: What the outcomes of users say of this rollout.
        rival: Another rollout that the predictors follow, which has to go first.
    """

    rollout: str
    generation: int = 1
    annotations: Mapping[str, str] = field(default_factory=dict)
    published: RoutingDocument | None = None
    pods: tuple[PodReport, ...] = ()
    measurements: Mapping[str, Measurement | None] = field(default_factory=dict)
    evidence: RolloutEvidence | None = None
    rival: str | None = None

    def acknowledged(self, fingerprint: str) -> int:
        """Return how many predictors have applied the document with this fingerprint."""
        return sum(1 for pod in self.pods if pod.report is not None and pod.report.fingerprint == fingerprint)

    def all_acknowledge(self, fingerprint: str) -> bool:
        """Return whether there are predictors and all of them have applied the document."""
        return bool(self.pods) and self.acknowledged(fingerprint) == len(self.pods)

    def all_hold(self, digest: str) -> bool:
        """Return whether there are predictors and all of them hold the bundle in memory."""
        return bool(self.pods) and all(_state(pod, digest) == "loaded" for pod in self.pods)

    def refusal_of(self, digest: str) -> str | None:
        """Return why a predictor says that it can never load the bundle, or ``None`` where none says so."""
        for pod in self.pods:
            for arm in pod.report.arms if pod.report is not None else ():
                if arm.digest == digest and arm.state == "failed":
                    return f"{pod.pod}: {arm.reason or 'no reason given'}"
        return None


def _state(pod: PodReport, digest: str) -> str:
    arms = pod.report.arms if pod.report is not None else ()
    return next((arm.state for arm in arms if arm.digest == digest), "absent")
