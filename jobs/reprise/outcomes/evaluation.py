"""The evaluation of one run, which report and metrics are made of, and the evidence that the operator reads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from reprise.outcomes.comparison.results import ArmResult, CandidateResult, Reproduction
from reprise.outcomes.features.feature_consistency import Consistency
from reprise.outcomes.features.feature_drift import ModelDrift
from reprise.outcomes.tables.compared_arms import ComparedArm
from reprise.routing import CandidateEvidence, RolloutEvidence
from reprise.routing.sample_ratio import SampleRatio
from reprise.runtime.durations import EPOCH


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The evaluation of one run; the field names are keys of ``report.json``."""

    computed_us: int  # Time of the run, microseconds since 1970-01-01 UTC
    complete_until_us: int  # Everything that happened until then was archived
    since_us: int | None  # When the weights last changed; ``None`` if they never did
    rollout: str | None  # The rollout, namespace/name; ``None`` without one
    alpha: float  # Maximum probability that one candidate's confidence sequence ever misses the truth
    predictions: int  # Predictions read
    broken: int  # Records that are not valid predictions
    missing: int  # Records that were lost before they were archived
    baseline: ComparedArm | None  # The baseline; ``None`` if no prediction is of one
    arms: tuple[ArmResult, ...]  # Each model of each arm
    candidates: tuple[CandidateResult, ...]  # Each candidate against the baseline
    ratio: SampleRatio | None  # The test of the arms' shares of users; ``None`` if the weights are not known
    users: Mapping[str, int]  # Users by arm that the test is of
    consistency: Consistency  # The consistency of online and offline features
    # The drift of the baseline's inputs since its training; ``None`` if its bundle is unavailable
    drift: ModelDrift | None
    reproduction: Reproduction  # Whether the models reproduce the logged probabilities
    notes: tuple[str, ...]  # Remarks for the reader


def build_evidence(evaluation: Evaluation) -> RolloutEvidence | None:
    """Return the evidence of an evaluation, ``None`` without a rollout."""
    baseline = evaluation.baseline
    if evaluation.rollout is None or baseline is None:
        return None
    return RolloutEvidence(
        rollout=evaluation.rollout,
        computed_at=EPOCH + timedelta(microseconds=evaluation.computed_us),
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
