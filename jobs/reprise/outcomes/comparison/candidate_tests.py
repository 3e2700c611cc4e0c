"""What the measures and the tests say, from the joined tables."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np

from reprise.bundle import Bundle
from reprise.evaluation.classification_metrics import RANKING_METRICS, Floats, RankedPredictions
from reprise.outcomes.comparison.bootstrap import Interval, bootstrap
from reprise.outcomes.comparison.confidence_sequence import SequentialTest, overall
from reprise.outcomes.comparison.metric_tests import (
    MetricResult,
    Setting,
    brier_result,
    conversion_result,
    paired_brier_result,
)
from reprise.outcomes.comparison.rescored_predictions import Rescored, rescore
from reprise.outcomes.evaluation import ArmFindings, CandidateFindings, Measured, Reproduction
from reprise.outcomes.settings import OutcomesSettings
from reprise.outcomes.tables.archive_snapshot import Gathered
from reprise.outcomes.tables.compared_arms import ComparedArm, Comparison, arm_sql
from reprise.outcomes.tables.outcome_join import (
    Group,
    Units,
    buyers,
    enter_users,
    exposed_features,
    groups,
    labelled_rows,
    shadow_differences,
    units,
)
from reprise.outcomes.tables.share_changepoint import assign_users, shares_since
from reprise.routing.sample_ratio import SampleRatio, sample_ratio
from reprise.runtime.durations import microseconds
from reprise.sql import literal

HISTOGRAM_BINS = 20
_Z = 1.96


@dataclass(frozen=True, slots=True)
class Judged:
    """What the tests of a comparison came to; see ``findings.Findings`` for the rest."""

    candidates: tuple[CandidateFindings, ...]
    ratio: SampleRatio | None
    users: Mapping[str, int]
    since_us: int | None
    reproduction: Reproduction
    notes: tuple[str, ...]


def measure_arms(
    connection: Any, gathered: Gathered, horizon_us: int, settings: OutcomesSettings
) -> tuple[ArmFindings, ...]:
    """Return what each model of each arm came to, over the models' horizon and over the early one."""
    early_us = microseconds(settings.early_horizon)
    found = []
    for group in groups(connection):
        full = _measured(connection, group, gathered, horizon_us, settings, early=False)
        early = (
            _measured(connection, group, gathered, early_us, settings, early=True)
            if early_us < horizon_us
            else None
        )
        found.append(ArmFindings(group.arm, group.digest, group.shadow, group.predictions, full, early))
    return tuple(found)


def judge(
    connection: Any,
    gathered: Gathered,
    comparison: Comparison,
    bundles: Mapping[str, Bundle],
    horizon_us: int,
    settings: OutcomesSettings,
) -> Judged:
    """Return what the tests of each candidate say, and whether the arms have their shares of users."""
    since_us = settings.since_us
    assigned = comparison.arm_of is not None
    if assigned:
        assign_users(connection, comparison)
        since_us = since_us if since_us is not None else shares_since(connection, comparison)
    exposure_us = microseconds(settings.exposure)
    enter_users(connection, arm_sql(comparison), since_us or 0, exposure_us, assigned)
    entered, ratio = _ratio(connection, comparison)
    tester = _Tester(connection, gathered, comparison, bundles, horizon_us, exposure_us, settings)
    candidates = tuple(tester.test(place, arm) for place, arm in enumerate(comparison.candidates, start=1))
    return Judged(candidates, ratio, entered, since_us, tester.reproduction, tuple(tester.notes))


def _measured(
    connection: Any,
    group: Group,
    gathered: Gathered,
    horizon_us: int,
    settings: OutcomesSettings,
    *,
    early: bool,
) -> Measured | None:
    until_us = gathered.complete_until_us
    rows = labelled_rows(connection, group, horizon_us, until_us, settings.max_rows)
    if len(rows.users) == 0:
        return None
    ranked = RankedPredictions.of(rows.labels, rows.probabilities)

    def statistics(weights: Floats | None) -> dict[str, float]:
        measured = asdict(ranked.metrics(weights))
        return {name: measured[name] for name in RANKING_METRICS} if early else measured

    people, bought = buyers(connection, group, horizon_us, until_us)
    return Measured(
        horizon_us=horizon_us,
        predictions=len(rows.users),
        users=int(rows.users.max()) + 1,
        sampled=rows.share,
        measures=bootstrap(statistics, rows.users, draws=settings.draws, seed=settings.seed),
        conversion=_wilson(bought, people),
        calibration=() if early else ranked.calibration_curve(),
        histogram=tuple(np.histogram(rows.probabilities, bins=HISTOGRAM_BINS, range=(0.0, 1.0))[0].tolist()),
    )


def _ratio(connection: Any, comparison: Comparison) -> tuple[dict[str, int], SampleRatio | None]:
    """Return the users by the arm that first answered them, and whether that is as the shares say."""
    counted = dict(
        connection.execute("SELECT first_arm, count(*) FROM entered GROUP BY first_arm").fetchall()
    )
    arms = comparison.arms
    users = {arm.name: int(counted.get(place, 0)) for place, arm in enumerate(arms) if not arm.shadow}
    sharing = [arm for arm in arms if arm.weight]
    if len(sharing) < 2:
        return users, None
    return users, sample_ratio(
        [users[arm.name] for arm in sharing], [float(arm.weight or 0) for arm in sharing]
    )


class _Tester:
    """Tests candidates one after the other; notes what the reader should know."""

    def __init__(
        self,
        connection: Any,
        gathered: Gathered,
        comparison: Comparison,
        bundles: Mapping[str, Bundle],
        horizon_us: int,
        exposure_us: int,
        settings: OutcomesSettings,
    ) -> None:
        self._connection = connection
        self._comparison = comparison
        self._bundles = bundles
        self._until_us = gathered.complete_until_us
        self._exposure_us = exposure_us
        self._settings = settings
        alpha = settings.alpha / max(1, len(comparison.candidates))
        test = SequentialTest(alpha=alpha, minimum=settings.min_users)
        self._full = Setting(horizon_us, False, self._until_us, test)
        early_us = microseconds(settings.early_horizon)
        self._early = Setting(early_us, True, self._until_us, test) if early_us < horizon_us else None
        self._full_users = units(connection, horizon_us, exposure_us, self._until_us)
        self._early_users = units(connection, early_us, exposure_us, self._until_us) if self._early else None
        self.reproduction = Reproduction()
        self.notes: list[str] = []

    def test(self, place: int, arm: ComparedArm) -> CandidateFindings:
        """Return what the tests say of the candidate at this place among the arms."""
        results = [self._brier(place, arm, self._full_users)]
        if not arm.shadow:
            margin = self._settings.conversion_margin
            results.append(conversion_result(self._full_users, place, margin, self._full))
            if self._early is not None and self._early_users is not None:
                results.append(conversion_result(self._early_users, place, margin, self._early))
        verdicts = [result.verdict for result in results if not result.early]
        return CandidateFindings(arm, tuple(results), overall(verdicts))

    def _brier(self, place: int, arm: ComparedArm, users: Units) -> MetricResult:
        margin = self._settings.brier_margin
        rescored = self._shadowed(arm) if arm.shadow else self._rescored(place, arm)
        if rescored is None:
            return brier_result(users, place, margin, self._full)
        return paired_brier_result(users, rescored, margin, self._full)

    def _shadowed(self, arm: ComparedArm) -> Rescored:
        """Return what the shadow's own records say, which are of the predictions that the baseline answered."""
        rows = f"shadow AND arm = {literal(arm.name)} AND digest = {literal(arm.digest)}"
        differences = shadow_differences(
            self._connection, rows, self._full.horizon_us, self._exposure_us, self._until_us, self._people()
        )
        return Rescored(*differences, reproduced=0, differing=0)

    def _people(self) -> int:
        [(people,)] = self._connection.execute("SELECT count(*) FROM users").fetchall()
        return int(people)

    def _rescored(self, place: int, arm: ComparedArm) -> Rescored | None:
        bundles = [self._bundles.get(digest) for digest in (self._comparison.baseline.digest, arm.digest)]
        baseline, candidate = bundles
        if baseline is None or candidate is None:
            self.notes.append(
                f"The model of {arm.name}, or the baseline's, is not in the model store: their Brier scores are"
                " compared between users of two arms, which takes many more of them."
            )
            return None
        people = self._people()
        reader, share = exposed_features(
            self._connection,
            self._full.horizon_us,
            self._exposure_us,
            self._until_us,
            self._settings.rescore_rows,
        )
        rescored = rescore(reader, place, baseline, candidate, people)
        if rescored is None:
            self.notes.append(
                f"{arm.name} has inputs that the baseline's predictions did not log, or the other way round: their"
                " Brier scores are compared between users of two arms, which takes many more of them."
            )
            return None
        if share < 1.0:
            self.notes.append(
                f"Both models scored the predictions of {share:.1%} of the users anew, drawn by the hash of their"
                " id, because there were more than --rescore-rows."
            )
        seen = self.reproduction
        self.reproduction = Reproduction(
            seen.compared + rescored.reproduced, seen.differing + rescored.differing
        )
        return rescored


def _wilson(hits: int, total: int) -> Interval:
    """Return a share with its 95% interval (Wilson, JASA 22, 1927)."""
    if total == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    share, z2 = hits / total, _Z * _Z
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z / (1 + z2 / total) * sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))
