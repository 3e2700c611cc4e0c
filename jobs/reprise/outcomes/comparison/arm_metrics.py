"""The metrics of each model in each arm, with 95% intervals over users.

Users are resampled, not predictions: the pairs cluster bootstrap (Cameron, Gelbach and Miller, *Bootstrap-based
improvements for inference with clustered errors*, Review of Economics and Statistics 90(3), 2008), with Poisson(1)
weights for the draw (Chamandy, Muralidharan, Najmi and Naidu, *Estimating uncertainty for massive data streams*,
Google, 2012), percentile intervals. They are valid at one moment; decisions use ``confidence_sequence``.
"""

from collections.abc import Callable
from dataclasses import asdict
from math import sqrt
from typing import Any

import numpy as np

from reprise.evaluation.classification_metrics import RANKING_METRICS, Floats, Indices, RankedPredictions
from reprise.outcomes.comparison.results import ArmResult, HorizonResult, Interval
from reprise.outcomes.settings import OutcomesSettings
from reprise.outcomes.tables.outcome_join import ModelArm, buyers, labelled_rows, model_arms
from reprise.runtime.durations import microseconds

HISTOGRAM_BINS = 20
_Z = 1.96


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


def wilson_interval(hits: int, total: int) -> Interval:
    """Return a share with its 95% interval (Wilson, JASA 22, 1927)."""
    if total == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    share, z2 = hits / total, _Z * _Z
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z / (1 + z2 / total) * sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def bootstrap(
    statistics: Callable[[Floats | None], dict[str, float]], users: Indices, *, draws: int, seed: int
) -> dict[str, Interval]:
    """Return each statistic with its interval from that many draws.

    ``statistics`` returns them for the rows with these weights, or for the rows as they are. ``users`` has the user of
    each row, numbered from 0.
    """
    values = statistics(None)
    rng = np.random.default_rng(seed)
    count = int(users.max()) + 1
    drawn: dict[str, list[float]] = {name: [] for name in values}
    for _ in range(draws):
        weights = rng.poisson(1.0, count).astype(np.float64)
        for name, value in statistics(weights[users]).items():
            drawn[name].append(value)
    return {name: _interval(values[name], np.array(drawn[name])) for name in values}


def _interval(value: float, drawn: Floats) -> Interval:
    known = drawn[~np.isnan(drawn)]
    if np.isnan(value) or len(known) == 0:
        return Interval(value, float("nan"), float("nan"))
    lower, upper = np.quantile(known, [0.025, 0.975])
    return Interval(value, float(lower), float(upper))
