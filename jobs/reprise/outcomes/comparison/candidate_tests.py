"""The sequential tests of each candidate against the baseline, and the sample ratio test of the arms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reprise.bundle import Bundle
from reprise.outcomes.comparison.confidence_sequence import SequentialTest, Verdict, combined_verdict
from reprise.outcomes.comparison.metric_tests import Margin, MetricTester
from reprise.outcomes.comparison.paired_scores import PairedScores, pair_scores
from reprise.outcomes.comparison.results import CandidateResult, MetricResult, Reproduction
from reprise.outcomes.settings import OutcomesSettings
from reprise.outcomes.tables.compared_arms import ComparedArm, ComparedArms, arm_sql
from reprise.outcomes.tables.outcome_join import (
    ExposureWindow,
    enter_users,
    exposed_features,
    final_user_values,
    shadow_scores,
)
from reprise.outcomes.tables.share_changes import (
    MAX_CHANGES,
    assign_users,
    candidate_periods,
    find_share_changes,
)
from reprise.routing.sample_ratio import FALSE_ALARM, SampleRatio, sample_ratio
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
    window = ExposureWindow(horizon_us, microseconds(settings.exposure), until_us)
    starts: tuple[int, ...] = (settings.since_us or 0,)
    if arms.arm_of is not None:
        assign_users(connection, arms)
        if settings.since_us is None:
            changes = find_share_changes(connection, arms)
            # Before the oldest of as many changes as are looked for, the shares need not have been constant.
            starts = changes if len(changes) == MAX_CHANGES else (0, *changes)
    users, ratio = _sample_ratio(connection, arms, starts[-1])
    tester = _CandidateTester(connection, arms, bundles, window, starts, settings)
    candidates = tuple(tester.test(place, arm) for place, arm in enumerate(arms.candidates, start=1))
    if ratio is not None and ratio.anytime_p_value < FALSE_ALARM:
        tester.notes.append(
            "The arms do not have their shares of the users, so their users cannot be compared: no verdict."
        )
        candidates = tuple(
            each if each.arm.shadow else replace(each, verdict=Verdict.UNDECIDED) for each in candidates
        )
    return CandidateTests(
        candidates, ratio, users, starts[-1] or None, tester.reproduction, tuple(tester.notes)
    )


def _sample_ratio(
    connection: Any, arms: ComparedArms, since_us: int
) -> tuple[dict[str, int], SampleRatio | None]:
    """Return the users since an instant by the arm that first answered them, and the test of their shares."""
    arm = arm_sql(arms)
    rows = connection.execute(
        f"""
        SELECT first_arm, count(*) FROM (
            SELECT arg_min({arm}, (timestamp_us, row_id)) AS first_arm FROM scored
            WHERE NOT shadow AND timestamp_us >= {since_us} AND ({arm}) IS NOT NULL GROUP BY user_number
        ) GROUP BY first_arm
        """
    ).fetchall()
    counts = dict(rows)
    users = {arm.name: int(counts.get(place, 0)) for place, arm in enumerate(arms.arms) if not arm.shadow}
    weights = {arm.name: float(arm.weight) for arm in arms.arms if arm.weight}
    if len(weights) < 2:
        return users, None
    return users, sample_ratio([users[name] for name in weights], list(weights.values()))


@dataclass(slots=True)
class _CandidateTester:
    connection: Any
    arms: ComparedArms
    bundles: Mapping[str, Bundle]
    window: ExposureWindow
    starts_us: Sequence[int]
    settings: OutcomesSettings
    reproduction: Reproduction = field(default_factory=Reproduction)
    notes: list[str] = field(default_factory=list)

    def test(self, place: int, arm: ComparedArm) -> CandidateResult:
        """Return the tests of the candidate at a place among the arms."""
        settings, window = self.settings, self.window
        periods = candidate_periods(self.connection, arm, self.starts_us)
        assigned = self.arms.arm_of is not None
        enter_users(self.connection, arm_sql(self.arms), periods, window, assigned)
        full = self._tester(window)
        results = [self._test_brier(full, place, arm)]
        if not arm.shadow:
            margin = Margin(settings.conversion_relative_margin, settings.conversion_margin)
            results.append(full.conversion(place, margin))
            early_us = microseconds(settings.early_horizon)
            if early_us < window.horizon_us:
                early = replace(window, horizon_us=early_us, early=True)
                results.append(self._tester(early).conversion(place, margin))
        verdicts = [result.verdict for result in results if not result.early]
        return CandidateResult(arm, tuple(results), combined_verdict(verdicts))

    def _tester(self, window: ExposureWindow) -> MetricTester:
        settings = self.settings
        test = SequentialTest(
            alpha=settings.alpha / max(1, len(self.arms.candidates)),
            min_users=settings.min_users,
            min_conversions=settings.min_conversions,
            min_power=settings.min_power,
        )
        return MetricTester(final_user_values(self.connection, window), window, test)

    def _test_brier(self, tester: MetricTester, place: int, arm: ComparedArm) -> MetricResult:
        margin = Margin(self.settings.brier_relative_margin, self.settings.brier_margin)
        [(user_count,)] = self.connection.execute("SELECT count(*) FROM users").fetchall()
        if arm.shadow:  # Its logged scores are of predictions that the baseline answered
            sums = shadow_scores(self.connection, arm.name, arm.digest, self.window, user_count)
            return tester.paired_brier(PairedScores(*sums), margin)
        scores = self._paired_scores(place, arm, user_count)
        return tester.brier(place, margin) if scores is None else tester.paired_brier(scores, margin)

    def _paired_scores(self, place: int, arm: ComparedArm, user_count: int) -> PairedScores | None:
        baseline = self.bundles.get(self.arms.baseline.digest)
        candidate = self.bundles.get(arm.digest)
        if baseline is None or candidate is None:
            self.notes.append(
                f"The model of {arm.name}, or the baseline's, is not in the model store: {_TWO_ARMS}"
            )
            return None
        reader, share = exposed_features(self.connection, self.window, self.settings.rescore_rows)
        scores = pair_scores(reader, place, baseline, candidate, user_count)
        if scores is None:
            self.notes.append(
                f"{arm.name} has inputs that the baseline's predictions did not log, or vice versa: {_TWO_ARMS}"
            )
            return None
        if share < 1.0:
            self.notes.append(
                f"Both models scored the predictions of {share:.1%} of the users again, sampled by the hash of their"
                " id, because there were more than OUTCOMES_RESCORE_ROWS."
            )
        self.reproduction = Reproduction(
            self.reproduction.compared + scores.reproduced, self.reproduction.differing + scores.differing
        )
        return scores
