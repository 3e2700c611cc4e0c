"""The sequential tests of each candidate against the baseline, and the sample ratio test of the arms."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reprise.bundle import Bundle
from reprise.outcomes.comparison.confidence_sequence import SequentialTest, combined_verdict
from reprise.outcomes.comparison.metric_tests import MetricTester
from reprise.outcomes.comparison.paired_scores import PairedScores, pair_scores
from reprise.outcomes.comparison.results import CandidateResult, MetricResult, Reproduction
from reprise.outcomes.settings import OutcomesSettings
from reprise.outcomes.tables.compared_arms import ComparedArm, ComparedArms, arm_sql
from reprise.outcomes.tables.outcome_join import (
    ExposureWindow,
    enter_users,
    exposed_features,
    final_user_values,
    shadow_differences,
)
from reprise.outcomes.tables.share_changepoint import assign_users, find_share_change
from reprise.routing.sample_ratio import SampleRatio, sample_ratio
from reprise.runtime.durations import microseconds

_TWO_ARMS = "their Brier scores are compared between users of two arms, which takes many more of them."


@dataclass(frozen=True, slots=True)
class CandidateTests:
    """All tests of a run; see ``Evaluation`` for the fields."""

    candidates: tuple[CandidateResult, ...] = ()
    ratio: SampleRatio | None = None
    users: Mapping[str, int] = field(default_factory=dict)
    since_us: int | None = None
    reproduction: Reproduction = field(default_factory=Reproduction)
    notes: tuple[str, ...] = ()


def run_candidate_tests(
    connection: Any,
    until_us: int,
    arms: ComparedArms,
    bundles: Mapping[str, Bundle],
    horizon_us: int,
    settings: OutcomesSettings,
) -> CandidateTests:
    """Return the tests of each candidate, and whether the arms have their shares of users."""
    since_us = settings.since_us
    assigned = arms.arm_of is not None
    if assigned:
        assign_users(connection, arms)
        since_us = since_us if since_us is not None else find_share_change(connection, arms)
    exposure_us = microseconds(settings.exposure)
    enter_users(connection, arm_sql(arms), since_us or 0, exposure_us, assigned)
    users, ratio = _sample_ratio(connection, arms)
    window = ExposureWindow(horizon_us, exposure_us, until_us)
    tester = _CandidateTester(connection, arms, bundles, window, settings)
    candidates = tuple(tester.test(place, arm) for place, arm in enumerate(arms.candidates, start=1))
    return CandidateTests(candidates, ratio, users, since_us, tester.reproduction, tuple(tester.notes))


def _sample_ratio(connection: Any, arms: ComparedArms) -> tuple[dict[str, int], SampleRatio | None]:
    """Return the users by the arm that first answered them, and the test of their shares."""
    counts = dict(connection.execute("SELECT first_arm, count(*) FROM entered GROUP BY first_arm").fetchall())
    users = {arm.name: int(counts.get(place, 0)) for place, arm in enumerate(arms.arms) if not arm.shadow}
    weights = {arm.name: float(arm.weight) for arm in arms.arms if arm.weight}
    if len(weights) < 2:
        return users, None
    return users, sample_ratio([users[name] for name in weights], list(weights.values()))


class _CandidateTester:
    """Tests candidates one after another, and collects notes for the reader."""

    def __init__(
        self,
        connection: Any,
        arms: ComparedArms,
        bundles: Mapping[str, Bundle],
        window: ExposureWindow,
        settings: OutcomesSettings,
    ) -> None:
        self._connection = connection
        self._baseline = bundles.get(arms.baseline.digest)
        self._bundles = bundles
        self._window = window
        self._settings = settings
        test = SequentialTest(alpha=settings.alpha / max(1, len(arms.candidates)), minimum=settings.min_users)
        self._full = MetricTester(final_user_values(connection, window), window, test)
        self._early: MetricTester | None = None
        early_us = microseconds(settings.early_horizon)
        if early_us < window.horizon_us:
            early = ExposureWindow(early_us, window.exposure_us, window.until_us, early=True)
            self._early = MetricTester(final_user_values(connection, early), early, test)
        [(self._user_count,)] = connection.execute("SELECT count(*) FROM users").fetchall()
        self.reproduction = Reproduction()
        self.notes: list[str] = []

    def test(self, place: int, arm: ComparedArm) -> CandidateResult:
        """Return the tests of the candidate at a place among the arms."""
        results = [self._test_brier(place, arm)]
        if not arm.shadow:
            margin = self._settings.conversion_margin
            testers = (self._full, self._early)
            results += [tester.conversion(place, margin) for tester in testers if tester is not None]
        verdicts = [result.verdict for result in results if not result.early]
        return CandidateResult(arm, tuple(results), combined_verdict(verdicts))

    def _test_brier(self, place: int, arm: ComparedArm) -> MetricResult:
        margin = self._settings.brier_margin
        scores = self._shadow_scores(arm) if arm.shadow else self._paired_scores(place, arm)
        return self._full.brier(place, margin) if scores is None else self._full.paired_brier(scores, margin)

    def _shadow_scores(self, arm: ComparedArm) -> PairedScores:
        """Return the scores that the shadow logged, which are of predictions that the baseline answered."""
        return PairedScores(
            *shadow_differences(self._connection, arm.name, arm.digest, self._window, self._user_count)
        )

    def _paired_scores(self, place: int, arm: ComparedArm) -> PairedScores | None:
        candidate = self._bundles.get(arm.digest)
        if self._baseline is None or candidate is None:
            self.notes.append(
                f"The model of {arm.name}, or the baseline's, is not in the model store: {_TWO_ARMS}"
            )
            return None
        reader, share = exposed_features(self._connection, self._window, self._settings.rescore_rows)
        scores = pair_scores(reader, place, self._baseline, candidate, self._user_count)
        if scores is None:
            self.notes.append(
                f"{arm.name} has inputs that the baseline's predictions did not log, or vice versa: {_TWO_ARMS}"
            )
            return None
        if share < 1.0:
            self.notes.append(
                f"Both models scored the predictions of {share:.1%} of the users again, sampled by the hash of their"
                " id, because there were more than --rescore-rows."
            )
        self.reproduction = Reproduction(
            self.reproduction.compared + scores.reproduced, self.reproduction.differing + scores.differing
        )
        return scores
