"""The status of a ``ModelRollout``, the operator's only state, and the events on it.

The routing document follows from the status alone, so a status that was written is served, whatever crashes when.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, ValidationError

from reprise.rollout.exceptions import InvalidResourceError
from reprise.rollout.resource.spec import Digest, Name, Part, problems_of

CandidatePhase = Literal["Loading", "Progressing", "Measuring", "Shadowing", "RolledBack", "Promoted"]
DecidedBy = Literal["Rule", "Annotation", "Analysis", "Outcomes", "Predictor", "Spec"]
Instant = AwareDatetime
HISTORY = 10
"""Maximum number of history entries."""


class StatusPart(Part):
    """Base of the parts of the status; fields of a newer operator are ignored."""

    model_config = ConfigDict(extra="ignore")


class MetricStatus(StatusPart):
    """The result of one metric in the latest analysis."""

    type: str = Field(description="The metric.")
    verdict: Literal["Good", "Bad", "NoData"] = Field(
        description="Good, Bad, or NoData, which holds the step."
    )
    value: float | None = Field(None, description="The candidate's value.")
    baseline: float | None = Field(None, description="The baseline's value.")
    limit: float | None = Field(None, description="The maximum value.")
    samples: int = Field(0, description="Requests or users of the candidate in the sample.")
    failures: int = Field(0, description="Consecutive failed analyses.")
    message: str = Field("", description="The result in words.")


class AnalysisStatus(StatusPart):
    """The latest analysis of a candidate."""

    time: Instant = Field(description="Time of the analysis.")
    metrics: tuple[MetricStatus, ...] = Field((), description="Results by metric.")

    @property
    def good(self) -> bool:
        """Whether everything was measured and is within its limit."""
        return all(metric.verdict == "Good" for metric in self.metrics)

    def breach(self, failure_limit: int) -> MetricStatus | None:
        """Return the first metric that has failed as many analyses in a row as the limit, if any."""
        return next((metric for metric in self.metrics if metric.failures >= failure_limit), None)


class EvidenceStatus(StatusPart):
    """The latest evidence from user outcomes."""

    verdict: str = Field(description="better, not_worse, worse or undecided.")
    metric: str = Field(description="The compared metric.")
    estimate: float = Field(description="Candidate minus baseline; positive is better.")
    lower: float = Field(description="Lower end of the confidence sequence.")
    upper: float = Field(description="Upper end of the confidence sequence.")
    time: Instant = Field(description="Time of the computation.")

    @property
    def interval(self) -> str:
        """Metric, estimate and interval in words."""
        return f"{self.metric} {self.estimate:.4g} [{self.lower:.4g}, {self.upper:.4g}]"


class CandidateStatus(StatusPart):
    """The state of a candidate."""

    name: Name = Field(description="Name of the candidate.")
    digest: Digest = Field(description="Digest of its bundle.")
    phase: CandidatePhase = Field(
        description="Loading: predictors are loading it. Progressing: it goes through the steps. Measuring: it has its"
        " full share and waits for promotion. Shadowing: it scores without answering. RolledBack: its traffic was"
        " removed. Promoted: it is the baseline."
    )
    reason: str = Field("", description="Reason for the phase, one word in camel case.")
    message: str = Field("", description="Reason for the phase, or what it waits for.")
    step: int = Field(0, ge=0, description="Current step, from 0.")
    step_time: Instant | None = Field(None, description="Time of the last change of its weight.")
    weight: int = Field(0, ge=0, le=10_000, description="Weight in basis points.")
    buckets: tuple[str, ...] = Field((), description="Its buckets of users, first-last.")
    refused_time: Instant | None = Field(None, description="Time since when a predictor fails to load it.")
    analysis: AnalysisStatus | None = Field(None, description="The latest analysis.")
    evidence: EvidenceStatus | None = Field(None, description="The latest evidence from user outcomes.")


class HistoryEntry(StatusPart):
    """A change of the baseline, or a rollback."""

    time: Instant = Field(description="Time of the change.")
    event: Literal["Promoted", "RolledBack", "BaselineChanged", "BaselineRestored"] = Field(
        description="The change."
    )
    candidate: str = Field("", description="The candidate.")
    digest: Digest = Field(description="Digest of the bundle that was promoted or rolled back.")
    baseline: Digest = Field(description="Digest of the previous baseline.")
    by: DecidedBy = Field(description="Cause of the decision.")
    message: str = Field("", description="Reason in words.")


class BaselineStatus(StatusPart):
    """The current baseline."""

    digest: Digest = Field(description="Digest of the bundle.")
    spec_digest: Digest = Field(description="spec.baseline.digest when this baseline took over.")
    since: Instant = Field(description="Time when it took over.")
    previous: Digest | None = Field(None, description="Digest of the previous baseline.")


class RoutingStatus(StatusPart):
    """The published routing document."""

    generation: int = Field(ge=1, description="Generation of the document.")
    salt: str = Field(description="The salt in effect.")
    fingerprint: str = Field("", description="First 16 digits of its sha256.")
    acknowledged_time: Instant | None = Field(
        None, description="Time since when all predictors have applied it."
    )


class PodsStatus(StatusPart):
    """The ready predictors."""

    total: int = Field(0, description="Ready predictors.")
    acknowledged: int = Field(0, description="Predictors that have applied the document.")


class Condition(StatusPart):
    """A Kubernetes condition."""

    type: str = Field(description="Type of the condition.")
    status: Literal["True", "False", "Unknown"] = Field(description="Status of the condition.")
    reason: str = Field(description="Reason, one word in camel case.")
    message: str = Field("", description="Reason in words.")
    last_transition_time: Instant = Field(description="Time of the last change of the status.")
    observed_generation: int = Field(0, description="Generation of the resource that it is based on.")


class RolloutStatus(StatusPart):
    """The observed state of the rollout."""

    observed_generation: int = Field(0, description="Generation of the resource that was reconciled.")
    phase: str = Field("", description="Phase of the rollout.")
    message: str = Field("", description="What it waits for, or the error.")
    weights: str = Field("", description="Weights of the arms.")
    step: str = Field("", description="Steps of the candidates.")
    acknowledged: str = Field("", description="Predictors that have applied the weights, of all ready ones.")
    baseline: BaselineStatus | None = Field(None, description="The current baseline.")
    last_promoted_digest: Digest | None = Field(None, description="Digest of the last promoted bundle.")
    last_promoted_time: Instant | None = Field(None, description="Time of the last promotion.")
    routing: RoutingStatus | None = Field(None, description="The routing document.")
    pods: PodsStatus = Field(default_factory=PodsStatus, description="The predictors.")
    candidates: Annotated[tuple[CandidateStatus, ...], Field(max_length=8)] = Field(
        (), description="State of each candidate."
    )
    history: Annotated[tuple[HistoryEntry, ...], Field(max_length=HISTORY)] = Field(
        (), description="Changes of the baseline and rollbacks, latest first."
    )
    handled_requests: Annotated[tuple[str, ...], Field(max_length=8)] = Field(
        (), description="Annotations that were handled and are about to be removed."
    )
    conditions: Annotated[tuple[Condition, ...], Field(max_length=8)] = Field(
        (),
        description="Ready: all predictors have applied the weights. Progressing: a candidate is loading or in its"
        " steps. Healthy: no candidate was rolled back.",
    )

    def candidate(self, name: str, digest: str) -> CandidateStatus | None:
        """Return the state of a candidate, ``None`` if it is new."""
        return next((c for c in self.candidates if (c.name, c.digest) == (name, digest)), None)

    @classmethod
    def parse(cls, content: Any) -> Self:
        """Return the status of a resource.

        Raises:
            InvalidResourceError: It was not written by this operator.
        """
        try:
            return cls.model_validate(content or {})
        except ValidationError as error:
            raise InvalidResourceError(problems_of(error, "status")) from None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def at(instant: datetime) -> datetime:
    """Return the instant in whole seconds, as Kubernetes writes times."""
    return instant.replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class ResourceEvent:
    """An event as Kubernetes has it; ``reason`` is one word in camel case."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
