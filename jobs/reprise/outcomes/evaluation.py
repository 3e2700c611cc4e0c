"""Everything that one run found, as the report, the metrics and the evidence tell it."""

from collections.abc import Mapping
from dataclasses import dataclass

from reprise.evaluation.classification_metrics import CalibrationBin
from reprise.outcomes.comparison.bootstrap import Interval
from reprise.outcomes.comparison.confidence_sequence import Verdict
from reprise.outcomes.comparison.metric_tests import MetricResult
from reprise.outcomes.features.feature_consistency import Consistency
from reprise.outcomes.features.feature_drift import Drift
from reprise.outcomes.tables.compared_arms import ComparedArm
from reprise.routing.sample_ratio import SampleRatio


@dataclass(frozen=True, slots=True)
class Measured:
    """What one model in one arm came to, over one horizon.

    Attributes:
        horizon_us: How far ahead a purchase counted.
        predictions: How many predictions have that horizon behind them.
        users: Of how many users.
        sampled: Share of the users that was measured; below 1 where there were too many predictions.
        measures: The measures by name, with 95% intervals over users.
        conversion: Share of users who bought anything within the horizon of their first prediction.
        calibration: The reliability diagram; empty for the early read.
        histogram: Predictions by probability, in twenty bins of the same width.
    """

    horizon_us: int
    predictions: int
    users: int
    sampled: float
    measures: Mapping[str, Interval]
    conversion: Interval
    calibration: tuple[CalibrationBin, ...]
    histogram: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ArmFindings:
    """One model in one arm.

    Attributes:
        arm: The arm's name.
        digest: The model.
        shadow: Whether it scored without answering.
        predictions: How many predictions it made, whatever their age.
        full: Over the horizon that the models predict; None before any is over.
        early: The early read, over a shorter horizon.
    """

    arm: str
    digest: str
    shadow: bool
    predictions: int
    full: Measured | None
    early: Measured | None


@dataclass(frozen=True, slots=True)
class CandidateFindings:
    """A candidate against the baseline.

    Attributes:
        arm: The candidate.
        results: The tests, of the full horizon first.
        verdict: What the tests of the full horizon say together.
    """

    arm: ComparedArm
    results: tuple[MetricResult, ...]
    verdict: Verdict

    @property
    def deciding(self) -> MetricResult:
        """The result that the verdict comes from: the worst, or the best where none is bad."""
        order = [Verdict.WORSE, Verdict.UNDECIDED, Verdict.BETTER, Verdict.NOT_WORSE]
        full = [result for result in self.results if not result.early] or list(self.results)
        return min(full, key=lambda result: order.index(result.verdict))


@dataclass(frozen=True, slots=True)
class Reproduction:
    """Whether logged probabilities are those that their model gives for the logged features."""

    compared: int = 0
    differing: int = 0


@dataclass(frozen=True, slots=True)
class Findings:
    """What one run found.

    Attributes:
        computed_us: When, microseconds since 1970-01-01 UTC.
        complete_until_us: Everything that happened until then was archived.
        since_us: When the shares became what they are; None where they were never others.
        rollout: The rollout, namespace/name; None without one.
        alpha: Chance, at most, that one candidate's confidence sequence ever misses the truth.
        predictions: How many predictions were read.
        broken: Records that are no predictions.
        missing: Records that were lost before they were archived.
        baseline: The baseline; None where no prediction is of one.
        arms: What each model of each arm came to.
        candidates: Each candidate against the baseline.
        ratio: Whether the arms have their shares of users; None where the shares are not known.
        users: Users by arm, those that ratio is of.
        consistency: Whether online and offline features agree.
        drift: How far the baseline's inputs have moved since its training; None where its bundle is not to be had.
        reproduction: Whether the logged probabilities can be had again.
        notes: What the reader should know besides.
    """

    computed_us: int
    complete_until_us: int
    since_us: int | None
    rollout: str | None
    alpha: float
    predictions: int
    broken: int
    missing: int
    baseline: ComparedArm | None
    arms: tuple[ArmFindings, ...]
    candidates: tuple[CandidateFindings, ...]
    ratio: SampleRatio | None
    users: Mapping[str, int]
    consistency: Consistency
    drift: Drift | None
    reproduction: Reproduction
    notes: tuple[str, ...]
