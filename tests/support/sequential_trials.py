"""Simulated sequential tests: how often they are wrong, and how often they detect a difference.

``PYTHONPATH=tests python -m support.sequential_trials`` prints the table of the documentation.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from reprise.outcomes.comparison.confidence_sequence import (
    Estimates,
    Moments,
    SequentialTest,
    arm_difference,
    paired_difference,
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trial:
    """The simulated experiment.

    Attributes:
        users_an_hour: Users who enter in an hour, Poisson-distributed.
        hours: Duration; it is evaluated every hour.
        shares: Share of users in the candidate's arm, by step of equal duration.
        rate: Share of the baseline's users who buy.
        lift: The candidate's relative increase of the rate.
        improvement: Decrease of the Brier score by the candidate, in the paired test.
        margin: Absolute margin of not worse.
    """

    users_an_hour: float = 60.0
    hours: int = 336
    shares: tuple[float, ...] = (0.5,)
    rate: float = 0.08
    lift: float = 0.0
    improvement: float = 0.0
    margin: float = 0.01


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """Rates over the simulated experiments.

    Attributes:
        better: Share with the verdict better at some hour.
        not_worse: Share with the verdict better or not worse at some hour.
        worse: Share with the verdict worse at some hour.
        missed: Share whose interval excluded the true difference at some hour.
        hours: Median hour of the first ``better``; NaN without any.
        naive: Share that an ordinary 95% interval, evaluated every hour, would have called better.
    """

    better: float
    not_worse: float
    worse: float
    missed: float
    hours: float
    naive: float


def conversion_trials(trial: Trial, test: SequentialTest, runs: int, seed: int) -> SimulationResult:
    """Simulate tests of two arms on whether users buy."""
    rng = np.random.default_rng(seed)
    steps = len(trial.shares)
    stratum = np.arange(trial.hours) * steps // trial.hours
    candidates = np.array(trial.shares)[stratum]
    entered = rng.poisson(trial.users_an_hour, (runs, trial.hours))
    in_candidate = rng.binomial(entered, candidates)
    number = np.stack([entered - in_candidate, in_candidate], axis=-1)
    rates = np.array([trial.rate, trial.rate * (1.0 + trial.lift)])
    bought = rng.binomial(number, rates)
    buyers = _by_stratum(bought, stratum, steps)
    # a value is 0 or 1, so its square is itself
    moments = Moments(_by_stratum(number, stratum, steps), buyers, buyers)
    truth = rates[1] - rates[0]
    return _summarise(arm_difference(moments, test), truth, trial.margin, _naive_arms(moments))


def paired_trials(trial: Trial, test: SequentialTest, runs: int, seed: int) -> SimulationResult:
    """Simulate tests of two models on the same predictions, by users' mean differences of the Brier score.

    A user's probability of buying p is Beta-distributed; each model predicts it with its own error on the log-odds,
    and a user has a geometric number of predictions, so values are skewed and of unequal spread, as real ones are.
    """
    rng = np.random.default_rng(seed)
    entered = rng.poisson(trial.users_an_hour, (runs, trial.hours))
    total = int(entered.sum())
    values = _brier_differences(rng, total, trial)
    cell = np.repeat(np.arange(runs * trial.hours), entered.ravel())
    sums = [
        np.bincount(cell, weights, runs * trial.hours).reshape(runs, trial.hours).cumsum(axis=1)
        for weights in (np.ones(total), values, values**2)
    ]
    number, summed, squares = sums
    spread = np.sqrt(np.maximum(squares / number - (summed / number) ** 2, 0.0) / number)
    estimates = paired_difference(number, summed, squares, test)
    return _summarise(estimates, trial.improvement, trial.margin, summed / number - 1.96 * spread)


def _brier_differences(rng: np.random.Generator, users: int, trial: Trial) -> Floats:
    chance = np.clip(rng.beta(0.6, 6.0, users), 1e-6, 1 - 1e-6)
    logit = np.log(chance / (1 - chance))
    predictions = rng.geometric(0.35, users)
    answers = [1 / (1 + np.exp(-(logit + 0.4 * rng.standard_normal(users)))) for _ in range(2)]
    positives = rng.binomial(predictions, chance) / predictions
    # (p − y)² = p² − 2py + y, whose y cancels in the difference
    baseline, candidate = (answer**2 - 2 * answer * positives for answer in answers)
    return baseline - candidate + trial.improvement


def _by_stratum(values: npt.NDArray[Any], stratum: npt.NDArray[np.int64], steps: int) -> Floats:
    """Return (runs, hours, steps, arms): what each stratum holds by each hour."""
    spread = np.where((stratum[:, None] == np.arange(steps))[None, :, :, None], values[:, :, None, :], 0)
    return spread.cumsum(axis=1).astype(np.float64)


def _naive_arms(moments: Moments) -> Floats:
    number, total = (values.sum(axis=-2) for values in (moments.number, moments.total))
    mean = total / np.maximum(number, 1.0)
    error = np.sqrt((mean * (1 - mean) / np.maximum(number, 1.0)).sum(axis=-1))
    return np.asarray(mean[..., 1] - mean[..., 0] - 1.96 * error)


def _summarise(estimates: Estimates, truth: float, margin: float, naive_lower: Floats) -> SimulationResult:
    lower, upper = estimates.lower, estimates.upper
    better = lower > 0.0
    known = ~np.isnan(lower)
    ever = better.any(axis=1)
    first = better.argmax(axis=1)[ever]
    return SimulationResult(
        better=float(ever.mean()),
        not_worse=float((lower > -margin).any(axis=1).mean()),
        worse=float((upper < 0.0).any(axis=1).mean()),
        missed=float((known & ((lower > truth) | (upper < truth))).any(axis=1).mean()),
        hours=float(np.median(first)) + 1.0 if ever.any() else float("nan"),
        naive=float((known & (naive_lower > 0.0)).any(axis=1).mean()),
    )


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table."""

    name: str
    trial: Trial
    simulate: Callable[[Trial, SequentialTest, int, int], SimulationResult]


_CONVERSION = Trial()
_BRIER = Trial(margin=0.001)
CASES = (
    Case("A/A, conversion, 50:50", _CONVERSION, conversion_trials),
    Case("A/A, conversion, 5 → 25 → 50%", replace(_CONVERSION, shares=(0.05, 0.25, 0.5)), conversion_trials),
    Case("A/A, conversion, rare (1%)", replace(_CONVERSION, rate=0.01), conversion_trials),
    Case("A/A, Brier, paired", _BRIER, paired_trials),
    Case("A/B, conversion +10%", replace(_CONVERSION, lift=0.10), conversion_trials),
    Case("A/B, conversion +20%", replace(_CONVERSION, lift=0.20), conversion_trials),
    Case("A/B, conversion −20%", replace(_CONVERSION, lift=-0.20), conversion_trials),
    Case("exactly the margin worse, conversion", replace(_CONVERSION, lift=-0.125), conversion_trials),
    Case("A/B, Brier 0.001 lower, paired", replace(_BRIER, improvement=0.001), paired_trials),
    Case("A/B, Brier 0.002 lower, paired", replace(_BRIER, improvement=0.002), paired_trials),
    Case("exactly the margin worse, Brier", replace(_BRIER, improvement=-0.001), paired_trials),
)


def table(runs: int = 200, seed: int = 7) -> str:
    """Return the table of all cases, as Markdown."""
    lines = [
        "| simulated | better | at least not worse | worse | interval missed the truth | median hours to better"
        " | better by a plain 95% interval |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    test = SequentialTest()
    for case in CASES:
        found = case.simulate(case.trial, test, runs, seed)
        hours = "–" if np.isnan(found.hours) else f"{found.hours:.0f}"
        shares = (found.better, found.not_worse, found.worse, found.missed)
        cells = " | ".join(f"{share:.1%}" for share in shares)
        lines.append(f"| {case.name} | {cells} | {hours} | {found.naive:.1%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
