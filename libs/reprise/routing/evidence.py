"""Rollout evidence: each candidate compared with the baseline by outcomes, published by the outcomes job."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from reprise.routing.document import ArmName, Digest, StrictModel

EvidenceVerdict = Literal["better", "not_worse", "worse", "undecided"]


class CandidateEvidence(StrictModel):
    """One candidate against the baseline, on users whose horizon is over.

    ``estimate`` and the interval are of candidate minus baseline; more is better. The interval belongs to a
    confidence sequence, which stays valid however often it is computed.
    """

    candidate: ArmName
    candidate_digest: Digest
    baseline_digest: Digest
    verdict: EvidenceVerdict
    metric: str = Field(min_length=1, description="Metric, such as log_loss or purchases_per_user.")
    estimate: float
    lower: float
    upper: float
    alpha: Annotated[float, Field(gt=0, lt=1, description="Probability that the sequence ever misses.")]
    baseline_n: int = Field(ge=0, description="Units of analysis in the baseline's arm.")
    candidate_n: int = Field(ge=0, description="Units of analysis in the candidate's arm.")

    @model_validator(mode="after")
    def _check_interval(self) -> Self:
        if not self.lower <= self.estimate <= self.upper:
            raise ValueError(f"estimate: {self.estimate} is not between {self.lower} and {self.upper}")
        return self


class RolloutEvidence(StrictModel):
    """The newest comparison of each candidate of a project."""

    KIND: ClassVar[str] = "rollout evidence"

    schema_version: Literal[1] = 1
    rollout: str = Field(min_length=1, description="The resource, namespace/name.")
    computed_at: AwareDatetime
    candidates: tuple[CandidateEvidence, ...]


def evidence_key(project: str) -> str:
    """Return the Redis key of a project's rollout evidence."""
    return f"routing:{project}:evidence"
