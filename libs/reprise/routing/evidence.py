"""What the outcomes of users say of each candidate, as the outcomes job publishes it."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from reprise.routing.strict_model import ArmName, Digest, Wire

Verdict = Literal["better", "not_worse", "worse", "undecided"]


class CandidateEvidence(Wire):
    """One candidate against the baseline, on users whose horizon is over.

    ``estimate`` and the interval are of candidate minus baseline, so that more is better. The interval is of a
    confidence sequence: it covers at all times at once, however often one looks.
    """

    candidate: ArmName
    candidate_digest: Digest
    baseline_digest: Digest
    verdict: Verdict
    metric: str = Field(
        min_length=1, description="What was compared, such as log_loss or purchases_per_user."
    )
    estimate: float
    lower: float
    upper: float
    alpha: Annotated[float, Field(gt=0, lt=1, description="Chance that the sequence ever misses.")]
    baseline_n: int = Field(ge=0, description="Units of analysis in the baseline's arm.")
    candidate_n: int = Field(ge=0, description="Units of analysis in the candidate's arm.")

    @model_validator(mode="after")
    def _interval_encloses(self) -> Self:
        if not self.lower <= self.estimate <= self.upper:
            raise ValueError(f"estimate: {self.estimate} is not between {self.lower} and {self.upper}")
        return self


class RolloutEvidence(Wire):
    """The newest verdicts of a project."""

    WHAT: ClassVar[str] = "rollout evidence"

    schema_version: Literal[1] = 1
    rollout: str = Field(min_length=1, description="The resource, namespace/name.")
    computed_at: AwareDatetime
    candidates: tuple[CandidateEvidence, ...]
