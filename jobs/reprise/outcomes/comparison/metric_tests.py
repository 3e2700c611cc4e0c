"""The sequential test of one metric of a candidate against the baseline."""

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


class MetricTester:
    """Tests the metrics of users over one window."""

    def __init__(self, users: UserValues, window: ExposureWindow, test: SequentialTest) -> None:
        self._users = users
        self._window = window
        self._test = test

    def conversion(self, candidate: int, margin: float) -> MetricResult:
        """Return whether more users of the candidate's arm bought than of the baseline's."""
        users = self._users
        return self._compare_arms("conversion", users, users.converted.astype(np.float64), candidate, margin)

    def brier(self, candidate: int, margin: float) -> MetricResult:
        """Return whether the candidate's users were predicted better than the baseline's, each by its own model."""
        users = self._users.select(~np.isnan(self._users.brier))
        return self._compare_arms("brier", users, -users.brier, candidate, margin)

    def paired_brier(self, scores: PairedScores, margin: float) -> MetricResult:
        """Return whether the candidate's model predicts the same predictions better, whoever answered them."""
        users = self._users.select(scores.predictions[self._users.numbers] > 0)
        values = scores.improvement[users.numbers] / scores.predictions[users.numbers]
        instants, final = self._instants(users.mature_us)
        number, total, squares = (
            _cumulative(column, final) for column in (np.ones(len(values)), values, values**2)
        )
        estimates = paired_difference(number, total, squares, self._test)
        return self._result("brier", "paired", (len(users), len(users)), margin, instants, estimates)

    def _compare_arms(
        self, metric: MetricName, users: UserValues, values: Floats, candidate: int, margin: float
    ) -> MetricResult:
        instants, final = self._instants(users.mature_us)
        arms = [users.arms == BASELINE_ARM, users.arms == candidate]

        def moment(column: Floats) -> Floats:
            # shape (points, one stratum, two arms)
            columns = [_cumulative(np.where(arm, column, 0.0), final) for arm in arms]
            return np.stack(columns, axis=-1)[:, None, :]

        moments = Moments(moment(np.ones(len(values))), moment(values), moment(values**2))
        counts = (int(np.count_nonzero(arms[0])), int(np.count_nonzero(arms[1])))
        estimates = arm_difference(moments, self._test)
        return self._result(metric, "arms", counts, margin, instants, estimates)

    def _result(
        self,
        metric: MetricName,
        design: Design,
        users: tuple[int, int],
        margin: float,
        instants: Indices,
        estimates: Estimates,
    ) -> MetricResult:
        columns = (instants, estimates.difference, estimates.lower, estimates.upper)
        points = tuple(
            SequencePoint(int(at), *map(float, values)) for at, *values in zip(*columns, strict=True)
        )
        return MetricResult(
            metric=metric,
            design=design,
            horizon_us=self._window.horizon_us,
            early=self._window.early,
            margin=margin,
            baseline_users=users[0],
            candidate_users=users[1],
            verdict=sequence_verdict(points[-1].lower, points[-1].upper, margin),
            looks=points,
        )

    def _instants(self, mature_us: Indices) -> tuple[Indices, Indices]:
        """Return the instants of the points, the last of them now, and how many values were final at each."""
        until_us = self._window.until_us
        first = min(int(mature_us[0]), until_us) if len(mature_us) else until_us
        instants = np.unique(np.linspace(first, until_us, _POINTS).astype(np.int64))
        return instants, np.searchsorted(mature_us, instants, side="right").astype(np.int64)


def _cumulative(values: Floats, counts: Indices) -> Floats:
    """Return the sums of the first values, for each count."""
    return np.concatenate(([0.0], values.cumsum()))[counts]
