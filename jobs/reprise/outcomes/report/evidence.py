"""The evidence that the rollout operator promotes by."""

import math
from datetime import UTC, datetime, timedelta

from reprise.outcomes.comparison.results import CandidateResult
from reprise.outcomes.evaluation import Evaluation
from reprise.routing import CandidateEvidence, RolloutEvidence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def build_evidence(evaluation: Evaluation) -> RolloutEvidence | None:
    """Return the evidence of an evaluation, ``None`` without a rollout."""
    baseline = evaluation.baseline
    if evaluation.rollout is None or baseline is None:
        return None
    return RolloutEvidence(
        rollout=evaluation.rollout,
        computed_at=_EPOCH + timedelta(microseconds=evaluation.computed_us),
        candidates=tuple(
            _candidate_evidence(candidate, baseline.digest, evaluation.alpha)
            for candidate in evaluation.candidates
        ),
    )


def _candidate_evidence(candidate: CandidateResult, baseline: str, alpha: float) -> CandidateEvidence:
    result = candidate.deciding
    point = result.latest
    # Both metrics are differences of numbers between 0 and 1: without data anything from -1 to 1 is possible.
    known = not math.isnan(point.lower)
    return CandidateEvidence(
        candidate=candidate.arm.name,
        candidate_digest=candidate.arm.digest,
        baseline_digest=baseline,
        verdict=candidate.verdict.value,
        metric=result.metric,
        estimate=0.0 if math.isnan(point.difference) else point.difference,
        lower=max(-1.0, point.lower) if known else -1.0,
        upper=min(1.0, point.upper) if known else 1.0,
        alpha=alpha,
        baseline_n=result.baseline_users,
        candidate_n=result.candidate_users,
    )
