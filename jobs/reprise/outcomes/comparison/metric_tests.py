"""The sequential test of one metric of a candidate against the baseline."""

from dataclasses import dataclass

import numpy as np

from reprise.evaluation.classification_metrics import Floats, Indices
from reprise.outcomes.comparison.confidence_sequence import (
    Estimates,
    Moments,
    SequentialTest,
    arm_difference,
    paired_difference,
    sequence_verdict,
)
from reprise.outcomes.comparison.paired_scores import PairedScores
from reprise.outcomes.comparison.results import Design, MetricName, MetricResult, SequencePoint
from reprise.outcomes.tables.outcome_join import ExposureWindow, UserValues

BASELINE_ARM = 0
_POINTS = 120


@dataclass(frozen=True, slots=True)
class Margin:
    """Non-inferiority margin: a share of the baseline's value, or an absolute one, which takes precedence."""

    relative: float
    absolute: float | None = None

    def of(self, baseline: float) -> float:
        """Return the margin in units of the metric."""
        return self.relative * abs(baseline) if self.absolute is None else self.absolute


class MetricTester:
    """Tests the metrics of users over one window."""

    def __init__(self, users: UserValues, window: ExposureWindow, test: SequentialTest) -> None:
        self._users = users
        self._window = window
        self._test = test

    def conversion(self, candidate: int, margin: Margin) -> MetricResult:
        """Return whether more users of the candidate's arm bought than of the baseline's."""
        users = self._users
        return self._compare_arms("conversion", users, users.converted.astype(np.float64), candidate, margin)

    def brier(self, candidate: int, margin: Margin) -> MetricResult:
        """Return whether the candidate's users were predicted better than the baseline's, each by its own model."""
        users = self._users.select(~np.isnan(self._users.brier))
        return self._compare_arms("brier", users, -users.brier, candidate, margin)

    def paired_brier(self, scores: PairedScores, margin: Margin) -> MetricResult:
        """Return whether the candidate's model predicts the same predictions better, whoever answered them."""
        users = self._users.select(scores.predictions[self._users.numbers] > 0)
        predictions = scores.predictions[users.numbers]
        values = scores.improvement[users.numbers] / predictions
        baseline = scores.baseline[users.numbers] / predictions
        instants, final = self._instants(users.mature_us)
        bought = (scores.purchases[users.numbers] > 0).astype(np.float64)
        # As if the outcomes of a user's predictions were independent
        implied = scores.variance[users.numbers] / predictions**2
        columns = (np.ones(len(values)), values, values**2, bought, baseline, implied)
        estimates = paired_difference([_cumulative(column, final) for column in columns], self._test)
        return self._result("brier", "paired", (len(users), len(users)), margin, instants, estimates)

    def _compare_arms(
        self, metric: MetricName, users: UserValues, values: Floats, candidate: int, margin: Margin
    ) -> MetricResult:
        instants, final = self._instants(users.mature_us)
        arms = [users.arms == BASELINE_ARM, users.arms == candidate]
        strata = [users.strata == stratum for stratum in np.unique(users.strata)] or [users.strata == 0]

        def moment(column: Floats) -> Floats:
            # shape (points, strata, arms)
            sums = [
                [_cumulative(np.where(arm & stratum, column, 0.0), final) for arm in arms]
                for stratum in strata
            ]
            return np.array(sums).transpose(2, 0, 1)

        columns = (np.ones(len(values)), values, values**2, users.converted.astype(np.float64))
        estimates = arm_difference(Moments(*map(moment, columns)), self._test)
        counts = (int(np.count_nonzero(arms[0])), int(np.count_nonzero(arms[1])))
        return self._result(metric, "arms", counts, margin, instants, estimates)

    def _result(
        self,
        metric: MetricName,
        design: Design,
        users: tuple[int, int],
        margin: Margin,
        instants: Indices,
        estimates: Estimates,
    ) -> MetricResult:
        columns = (instants, estimates.difference, estimates.lower, estimates.upper)
        latest = estimates.latest
        absolute = margin.of(float(latest.baseline))
        return MetricResult(
            metric=metric,
            design=design,
            horizon_us=self._window.horizon_us,
            early=self._window.early,
            margin=absolute,
            power=float(latest.power(np.asarray(absolute))),
            baseline_users=users[0],
            candidate_users=users[1],
            verdict=sequence_verdict(latest, absolute, self._test.min_power),
            looks=tuple(
                SequencePoint(int(at), *map(float, values)) for at, *values in zip(*columns, strict=True)
            ),
        )

    def _instants(self, mature_us: Indices) -> tuple[Indices, Indices]:
        """Return the instants of the points, the last of them now, and how many values were final at each."""
        until_us = self._window.until_us
        first = min(int(mature_us[0]), until_us) if len(mature_us) else until_us
        instants = np.unique(np.linspace(first, until_us, _POINTS).astype(np.int64))
        return instants, np.searchsorted(mature_us, instants, side="right").astype(np.int64)


def _cumulative(values: Floats, counts: Indices) -> Floats:
    return np.concatenate(([0.0], values.cumsum()))[counts]
