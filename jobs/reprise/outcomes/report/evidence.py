"""What the operator promotes by."""

import math
from datetime import UTC, datetime, timedelta

from reprise.outcomes.evaluation import CandidateFindings, Findings
from reprise.routing import CandidateEvidence, RolloutEvidence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def build_evidence(findings: Findings) -> RolloutEvidence | None:
    """Return the evidence of the findings; None where there is no rollout."""
    if findings.rollout is None or findings.baseline is None:
        return None
    return RolloutEvidence(
        rollout=findings.rollout,
        computed_at=_EPOCH + timedelta(microseconds=findings.computed_us),
        candidates=tuple(
            _candidate(found, findings.baseline.digest, findings.alpha) for found in findings.candidates
        ),
    )


def _candidate(found: CandidateFindings, baseline: str, alpha: float) -> CandidateEvidence:
    result = found.deciding
    newest = result.newest
    # both metrics are differences of numbers between 0 and 1: where nothing is known, all of -1 to 1 is possible
    lower, upper = (
        (-1.0, 1.0) if math.isnan(newest.lower) else (max(-1.0, newest.lower), min(1.0, newest.upper))
    )
    return CandidateEvidence(
        candidate=found.arm.name,
        candidate_digest=found.arm.digest,
        baseline_digest=baseline,
        verdict=found.verdict.value,
        metric=result.metric,
        estimate=0.0 if math.isnan(newest.difference) else newest.difference,
        lower=lower,
        upper=upper,
        alpha=alpha,
        baseline_n=result.baseline_users,
        candidate_n=result.candidate_users,
    )
