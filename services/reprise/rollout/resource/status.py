"""The status of a ``ModelRollout``: the operator's only state.

The routing document follows from the status alone, so a status that was written is served, whatever crashes when.
"""

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
    """Base of the status's parts; what a newer operator has added is left aside."""

    model_config = ConfigDict(extra="ignore")


class MetricStatus(StatusPart):
    """What the latest analysis found of one metric."""

    type: str = Field(description="Which metric.")
    verdict: Literal["Good", "Bad", "NoData"] = Field(
        description="Good, Bad, or NoData, which holds the step."
    )
    value: float | None = Field(None, description="The candidate's value.")
    baseline: float | None = Field(None, description="The baseline's value.")
    limit: float | None = Field(None, description="The largest value that is good.")
    samples: int = Field(0, description="Requests, or users, of the candidate that the value is of.")
    failures: int = Field(0, description="How many analyses in a row found it bad.")
    message: str = Field("", description="The finding in words.")


class AnalysisStatus(StatusPart):
    """The latest analysis of a candidate."""

    time: Instant = Field(description="When it was made.")
    metrics: tuple[MetricStatus, ...] = Field((), description="What it found.")

    @property
    def good(self) -> bool:
        """Whether everything was measured and is within its limit."""
        return all(metric.verdict == "Good" for metric in self.metrics)

    def breach(self, failure_limit: int) -> MetricStatus | None:
        """Return the first metric that has failed as many analyses in a row as the limit, if any."""
        return next((metric for metric in self.metrics if metric.failures >= failure_limit), None)


class EvidenceStatus(StatusPart):
    """What the outcomes of users said last."""

    verdict: str = Field(description="better, not_worse, worse or undecided.")
    metric: str = Field(description="What was compared.")
    estimate: float = Field(description="Candidate minus baseline; more is better.")
    lower: float = Field(description="Lower end of the confidence sequence.")
    upper: float = Field(description="Upper end of the confidence sequence.")
    time: Instant = Field(description="When it was computed.")

    @property
    def interval(self) -> str:
        """Metric, estimate and interval in words."""
        return f"{self.metric} {self.estimate:.4g} [{self.lower:.4g}, {self.upper:.4g}]"


class CandidateStatus(StatusPart):
    """Where a candidate stands."""

    name: Name = Field(description="Its name.")
    digest: Digest = Field(description="Its bundle.")
    phase: CandidatePhase = Field(
        description="Loading: the predictors load it. Progressing: it walks the steps. Measuring: it has its share and"
        " waits to be promoted. Shadowing: it scores without answering. RolledBack: it answers nobody any more."
        " Promoted: it is the baseline."
    )
    reason: str = Field("", description="Why it is in this phase, one word in camel case.")
    message: str = Field("", description="Why it is in this phase, or what it waits for.")
    step: int = Field(
        0, ge=0, description="The step that it is in, from 0; as many as there are steps after the last."
    )
    step_time: Instant | None = Field(None, description="When its present share was given.")
    weight: int = Field(0, ge=0, le=10_000, description="Its share in hundredths of a percent.")
    buckets: tuple[str, ...] = Field((), description="The buckets of users that it has, first-last.")
    refused_time: Instant | None = Field(
        None, description="Since when a predictor says that it cannot load it."
    )
    analysis: AnalysisStatus | None = Field(None, description="The latest analysis.")
    evidence: EvidenceStatus | None = Field(None, description="What the outcomes of its users say.")


class HistoryEntry(StatusPart):
    """A change of the baseline, or a candidate's end."""

    time: Instant = Field(description="When.")
    event: Literal["Promoted", "RolledBack", "BaselineChanged", "BaselineRestored"] = Field(
        description="What."
    )
    candidate: str = Field("", description="Which candidate.")
    digest: Digest = Field(description="Of the bundle that was promoted or rolled back.")
    baseline: Digest = Field(description="The baseline before.")
    by: DecidedBy = Field(description="What decided.")
    message: str = Field("", description="Why.")


class BaselineStatus(StatusPart):
    """The baseline that serves."""

    digest: Digest = Field(description="The bundle.")
    spec_digest: Digest = Field(description="What spec.baseline.digest was when this one came to serve.")
    since: Instant = Field(description="Since when.")
    previous: Digest | None = Field(None, description="The baseline before it.")


class RoutingStatus(StatusPart):
    """The routing document that is published."""

    generation: int = Field(ge=1, description="Its number.")
    salt: str = Field(description="The salt that is in force.")
    fingerprint: str = Field("", description="First digits of its sha256.")
    acknowledged_time: Instant | None = Field(None, description="Since when all predictors serve it.")


class PodsStatus(StatusPart):
    """The predictors that serve the published document."""

    total: int = Field(0, description="How many are ready.")
    acknowledged: int = Field(0, description="How many of them have applied the document.")


class Condition(StatusPart):
    """A condition as Kubernetes users know them."""

    type: str = Field(description="Which.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(description="Why, one word in camel case.")
    message: str = Field("", description="Why.")
    last_transition_time: Instant = Field(description="Since when the status is what it is.")
    observed_generation: int = Field(0, description="The resource's generation that it is about.")


class RolloutStatus(StatusPart):
    """What the rollout has come to."""

    observed_generation: int = Field(0, description="The resource's generation that the operator acts on.")
    phase: str = Field("", description="What the rollout is at, in one word.")
    message: str = Field("", description="What it waits for, or what is wrong.")
    weights: str = Field("", description="The shares of the arms.")
    step: str = Field("", description="The step that the candidates are in.")
    acknowledged: str = Field("", description="Predictors that serve these shares, of all that are ready.")
    baseline: BaselineStatus | None = Field(None, description="The baseline that serves.")
    last_promoted_digest: Digest | None = Field(None, description="The bundle that was promoted last.")
    last_promoted_time: Instant | None = Field(None, description="When it was promoted.")
    routing: RoutingStatus | None = Field(None, description="The routing document.")
    pods: PodsStatus = Field(default_factory=PodsStatus, description="The predictors.")
    candidates: Annotated[tuple[CandidateStatus, ...], Field(max_length=8)] = Field(
        (), description="Where each candidate stands."
    )
    history: Annotated[tuple[HistoryEntry, ...], Field(max_length=HISTORY)] = Field(
        (), description="Promotions and rollbacks, the latest first."
    )
    handled_requests: Annotated[tuple[str, ...], Field(max_length=8)] = Field(
        (), description="Annotations that have been acted on and are about to be removed."
    )
    conditions: Annotated[tuple[Condition, ...], Field(max_length=8)] = Field(
        (),
        description="Ready: all predictors serve the published shares. Progressing: a candidate is under way. Healthy:"
        " no candidate was rolled back.",
    )

    def candidate(self, name: str, digest: str) -> CandidateStatus | None:
        """Return where a candidate stands, or ``None`` where it is new."""
        return next((c for c in self.candidates if (c.name, c.digest) == (name, digest)), None)

    @classmethod
    def parse(cls, content: Any) -> Self:
        """Return the status of a resource.

        Raises:
            InvalidResourceError: Something else than this operator wrote it.
        """
        try:
            return cls.model_validate(content or {})
        except ValidationError as error:
            raise InvalidResourceError(problems_of(error, "status")) from None

    def as_json(self) -> dict[str, Any]:
        """Return it as Kubernetes keeps it; what is absent is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def at(instant: datetime) -> datetime:
    """Return the instant with whole seconds, as Kubernetes writes times."""
    return instant.replace(microsecond=0)
