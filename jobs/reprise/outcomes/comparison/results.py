"""Results of arms and candidates; the field names are keys of ``report.json``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from reprise.evaluation.classification_metrics import CalibrationBin
from reprise.evaluation.cluster_bootstrap import Interval
from reprise.outcomes.comparison.confidence_sequence import Verdict
from reprise.outcomes.tables.compared_arms import ComparedArm

MetricName = Literal["brier", "conversion"]
Design = Literal["paired", "arms"]


@dataclass(frozen=True, slots=True)
class HorizonResult:
    """The predictions of one model in one arm, over one horizon."""

    horizon_us: int  # Time in which a purchase counts, microseconds
    predictions: int  # Predictions whose horizon is over
    users: int  # Their users
    sampled: float  # Share of the users that was measured; below 1 if there were too many predictions
    measures: Mapping[str, Interval]  # The metrics by name, with 95% intervals over users
    conversion: Interval  # Share of users who bought anything within the horizon of their first prediction
    calibration: tuple[CalibrationBin, ...]  # The reliability diagram; empty for the early read
    histogram: tuple[int, ...]  # Predictions by probability, in twenty bins of equal width


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One model in one arm."""

    arm: str  # The arm's name
    digest: str  # The model
    shadow: bool  # Whether it scored without answering
    predictions: int  # All its predictions
    full: HorizonResult | None  # Over the horizon that the models predict; ``None`` before any is over
    early: HorizonResult | None  # The early read, over a shorter horizon

    @property
    def horizons(self) -> dict[str, HorizonResult]:
        """The results that there are, by ``full`` and ``early``."""
        both = {"full": self.full, "early": self.early}
        return {name: result for name, result in both.items() if result is not None}


@dataclass(frozen=True, slots=True)
class SequencePoint:
    """The confidence sequence at one instant, microseconds since 1970-01-01 UTC."""

    at_us: int
    difference: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class MetricResult:
    """One metric of one candidate against the baseline; the difference is the candidate's improvement."""

    # ``brier``, the baseline's Brier score less the candidate's; or ``conversion``, the share of users
    # who bought, the candidate's less the baseline's
    metric: MetricName
    design: Design  # ``paired``, both models on the same predictions; or ``arms``, users of two arms
    horizon_us: int  # Time in which a purchase counts, microseconds
    early: bool  # Whether that is less than the models predict
    margin: float  # Non-inferiority margin: a candidate that is worse by less than this is not worse
    # Probability that a loss as large as the margin would be called worse by now; NaN without an
    # interval
    power: float
    baseline_users: int  # Users of the baseline in the test
    candidate_users: int  # Users of the candidate in the test
    verdict: Verdict  # The verdict of the latest point
    looks: tuple[SequencePoint, ...]  # The confidence sequence over time

    @property
    def latest(self) -> SequencePoint:
        """The latest point."""
        return self.looks[-1]


@dataclass(frozen=True, slots=True)
class CandidateResult:
    """A candidate against the baseline; ``results`` are of the full horizon first, and ``verdict`` is theirs."""

    arm: ComparedArm
    results: tuple[MetricResult, ...]
    verdict: Verdict

    @property
    def deciding(self) -> MetricResult:
        """The result that determines the verdict: the worst, or the best if none is bad."""
        order = [Verdict.WORSE, Verdict.UNDECIDED, Verdict.BETTER, Verdict.NOT_WORSE]
        full = [result for result in self.results if not result.early] or list(self.results)
        return min(full, key=lambda result: order.index(result.verdict))


@dataclass(frozen=True, slots=True)
class Reproduction:
    """How many logged probabilities were computed again by their model, and how many of them differ."""

    compared: int = 0
    differing: int = 0
