"""The metrics of each model in each arm, with 95% intervals over users."""

from dataclasses import asdict
from typing import Any

import numpy as np

from reprise.evaluation.classification_metrics import RANKING_METRICS, Floats, RankedPredictions
from reprise.evaluation.cluster_bootstrap import bootstrap, wilson_interval
from reprise.outcomes.comparison.results import ArmResult, HorizonResult
from reprise.outcomes.settings import OutcomesSettings
from reprise.outcomes.tables.outcome_join import ModelArm, buyers, labelled_rows, model_arms
from reprise.runtime.durations import microseconds

HISTOGRAM_BINS = 20


def measure_arms(
    connection: Any, until_us: int, horizon_us: int, settings: OutcomesSettings
) -> tuple[ArmResult, ...]:
    """Return each model of each arm over the models' horizon, and over the early one if that is shorter."""
    early_us = microseconds(settings.early_horizon)
    results = []
    for arm in model_arms(connection):
        full = _measure(connection, arm, until_us, horizon_us, settings, early=False)
        early = None
        if early_us < horizon_us:
            early = _measure(connection, arm, until_us, early_us, settings, early=True)
        results.append(ArmResult(arm.arm, arm.digest, arm.shadow, arm.predictions, full, early))
    return tuple(results)


def _measure(
    connection: Any, arm: ModelArm, until_us: int, horizon_us: int, settings: OutcomesSettings, *, early: bool
) -> HorizonResult | None:
    rows = labelled_rows(connection, arm, horizon_us, until_us, settings.max_rows)
    if len(rows.users) == 0:
        return None
    ranked = RankedPredictions.of(rows.labels, rows.probabilities)

    def metrics(weights: Floats | None) -> dict[str, float]:
        values = asdict(ranked.metrics(weights))
        return {name: values[name] for name in RANKING_METRICS} if early else values

    users, bought = buyers(connection, arm, horizon_us, until_us)
    histogram, _ = np.histogram(rows.probabilities, bins=HISTOGRAM_BINS, range=(0.0, 1.0))
    return HorizonResult(
        horizon_us=horizon_us,
        predictions=len(rows.users),
        users=int(rows.users.max()) + 1,
        sampled=rows.share,
        measures=bootstrap(metrics, rows.users, draws=settings.draws, seed=settings.seed),
        conversion=wilson_interval(bought, users),
        calibration=() if early else ranked.calibration_curve(),
        histogram=tuple(histogram.tolist()),
    )
