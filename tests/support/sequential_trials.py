"""Simulated sequential tests: how often they are wrong, and how often they detect a difference.

``PYTHONPATH=tests python -m support.sequential_trials`` writes the tables into docs/rollouts.md. It takes minutes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
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

PAGE = Path(__file__).parents[2] / "docs/rollouts.md"
BEGIN, END = "<!-- trials:begin -->", "<!-- trials:end -->"
SHARES, RATES, RESTARTS = (0.5, 0.1, 0.05, 0.01), (0.2, 0.08, 0.03, 0.01, 0.005), (0, 3)
EFFECTS = (0.1, 0.3, 0.5)


@dataclass(frozen=True, slots=True)
class Trial:
    """The simulated experiment.

    Attributes:
        users_an_hour: Users who enter in an hour, Poisson-distributed.
        hours: Duration; it is evaluated every hour.
        share: Share of users in the candidate's arm at last.
        restarts: How often the share was raised before, in equal steps of share and time.
        rate: Share of the baseline's users who buy.
        lift: The candidate's relative increase of the rate.
        improvement: Decrease of the Brier score by the candidate, in the paired test.
        margin: Margin of not worse, relative; absolute in the paired test.
    """

    users_an_hour: float = 600.0
    hours: int = 336
    share: float = 0.5
    restarts: int = 0
    rate: float = 0.08
    lift: float = 0.0
    improvement: float = 0.0
    margin: float = 0.1


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """Shares of the simulated experiments.

    Attributes:
        better: With the verdict better at some hour.
        worse: With the verdict worse at some hour.
        not_worse: With the verdict not worse, or better, at some hour.
        missed: Whose interval excluded the true difference at some hour.
        naive: That an ordinary 95% interval, evaluated every hour, would have called better.
        hours: Median hour of the first ``better``; NaN without any.
    """

    better: float
    worse: float
    not_worse: float
    missed: float
    naive: float
    hours: float


def conversion_trials(trial: Trial, test: SequentialTest, runs: int, seed: int) -> SimulationResult:
    """Simulate tests of two arms on whether users buy, with a stratum for each share."""
    moments = _conversion_moments(trial, runs, seed)
    return _summarise(arm_difference(moments, test), trial.rate * trial.lift, trial.rate * trial.margin, test)


def restarted_trials(trial: Trial, test: SequentialTest, runs: int, seed: int) -> SimulationResult:
    """Simulate the alternative: a new test after each change, the k-th with α · 6 / (π²k²).

    A verdict counts if any of the tests had it.
    """
    moments = _conversion_moments(trial, runs, seed)
    found = []
    for stratum, period in enumerate(np.array_split(np.arange(trial.hours), trial.restarts + 1)):
        columns = (moments.number, moments.total, moments.squares, moments.conversions)
        alone = Moments(*(each[:, period][:, :, stratum : stratum + 1] for each in columns))
        own = replace(test, alpha=test.alpha * 6 / (np.pi * (stratum + 1)) ** 2)
        found.append(arm_difference(alone, own))
    names = Estimates.__slots__
    together = Estimates(*(np.concatenate([getattr(each, name) for each in found], axis=1) for name in names))
    return _summarise(together, trial.rate * trial.lift, trial.rate * trial.margin, test)


def paired_trials(trial: Trial, test: SequentialTest, runs: int, seed: int) -> SimulationResult:
    """Simulate tests of two models on the same predictions, by users' mean differences of the Brier score.

    A user's probability of buying p is Beta-distributed; each model predicts it with its own error on the log-odds,
    and a user has a geometric number of predictions, so values are skewed and of unequal spread, as real ones are.
    """
    rng = np.random.default_rng(seed)
    entered = rng.poisson(trial.users_an_hour, (runs, trial.hours))
    total = int(entered.sum())
    chance = np.clip(rng.beta(0.6, 0.6 * (1 - trial.rate) / trial.rate, total), 1e-6, 1 - 1e-6)
    logit = np.log(chance / (1 - chance))
    predictions = rng.geometric(0.35, total)
    answers = [1 / (1 + np.exp(-(logit + 0.4 * rng.standard_normal(total)))) for _ in range(2)]
    positives = rng.binomial(predictions, chance) / predictions
    # mean of (p − y)² = p² − 2py + y
    baseline, candidate = (answer**2 - 2 * answer * positives + positives for answer in answers)
    values = baseline - candidate + trial.improvement
    mean = (answers[0] + answers[1]) / 2
    implied = 4 * (answers[0] - answers[1]) ** 2 * mean * (1 - mean) / predictions
    cell = np.repeat(np.arange(runs * trial.hours), entered.ravel())
    sums = [
        np.bincount(cell, column, runs * trial.hours).reshape(runs, trial.hours).cumsum(axis=1)
        for column in (np.ones(total), values, values**2, positives > 0, baseline, implied)
    ]
    return _summarise(paired_difference(sums, test), trial.improvement, trial.margin, test)


def _conversion_moments(trial: Trial, runs: int, seed: int) -> Moments:
    rng = np.random.default_rng(seed)
    strata = trial.restarts + 1
    stratum = np.arange(trial.hours) * strata // trial.hours
    entered = rng.poisson(trial.users_an_hour, (runs, trial.hours))
    in_candidate = rng.binomial(entered, trial.share * (stratum + 1) / strata)
    number = np.stack([entered - in_candidate, in_candidate], axis=-1)
    bought = rng.binomial(number, [trial.rate, trial.rate * (1.0 + trial.lift)])
    buyers = _by_stratum(bought, stratum, strata)
    # a value is 0 or 1, so its square is itself
    return Moments(_by_stratum(number, stratum, strata), buyers, buyers, buyers)


def _by_stratum(values: npt.NDArray[Any], stratum: npt.NDArray[np.int64], strata: int) -> Floats:
    """Return (runs, hours, strata, arms): what each stratum holds by each hour."""
    spread = np.where((stratum[:, None] == np.arange(strata))[None, :, :, None], values[:, :, None, :], 0)
    return spread.cumsum(axis=1).astype(np.float64)


def _summarise(estimates: Estimates, truth: float, margin: float, test: SequentialTest) -> SimulationResult:
    lower, upper = estimates.lower, estimates.upper
    better = lower > 0.0
    ever = better.any(axis=1)
    first = better.argmax(axis=1)[ever]
    not_worse = better | estimates.not_worse(np.asarray(margin), test.min_power)
    return SimulationResult(
        better=float(ever.mean()),
        worse=float((upper < 0.0).any(axis=1).mean()),
        not_worse=float(not_worse.any(axis=1).mean()),
        missed=float(((lower > truth) | (upper < truth)).any(axis=1).mean()),
        naive=float((estimates.difference - 1.96 * estimates.error > 0.0).any(axis=1).mean()),
        hours=float(np.median(first)) + 1.0 if ever.any() else float("nan"),
    )


def cells() -> Iterator[Trial]:
    """Return the cells of the published table, without a difference between the arms."""
    for share, rate, restarts in product(SHARES, RATES, RESTARTS):
        yield Trial(share=share, rate=rate, restarts=restarts)


def conversion_table(runs: int, trials: Iterable[Trial], seed: int = 7) -> list[str]:
    """Return the table of trials of equal arms, with the power for some differences, as Markdown."""
    test = SequentialTest()
    effects = " | ".join(f"{sign}{effect:.0%}" for sign in "+−" for effect in EFFECTS)
    lines = [
        "| share | rate | changes | false better | false worse | missed | not worse, A/A | not worse, −10%"
        f" | {effects} |",
        f"| ---: | ---: | ---: | {' | '.join(['---:'] * (5 + 2 * len(EFFECTS)))} |",
    ]
    for trial in trials:
        equal = conversion_trials(trial, test, 4 * runs, seed)
        lifts = [conversion_trials(replace(trial, lift=lift), test, runs, seed) for lift in EFFECTS]
        losses = [conversion_trials(replace(trial, lift=-lift), test, runs, seed) for lift in EFFECTS]
        shares = [equal.better, equal.worse, equal.missed, equal.not_worse, losses[0].not_worse]
        shares += [found.better for found in lifts] + [found.worse for found in losses]
        texts = [f"{share:.1%}" for share in shares[:3]] + [f"{share:.0%}" for share in shares[3:]]
        lines.append(f"| {trial.share:.0%} | {trial.rate:.1%} | {trial.restarts} | {' | '.join(texts)} |")
    return lines


PAIRED = Trial(users_an_hour=60, rate=0.09, margin=0.001)
PAIRED_CASES = (
    ("A/A", PAIRED),
    ("A/A, rate 0.5%", replace(PAIRED, rate=0.005, margin=0.00005)),
    ("0.001 lower", replace(PAIRED, improvement=0.001)),
    ("0.002 lower", replace(PAIRED, improvement=0.002)),
    ("0.001 higher, the margin", replace(PAIRED, improvement=-0.001)),
)


def paired_table(runs: int, seed: int = 7) -> list[str]:
    """Return the table of two models on the same predictions, as Markdown."""
    lines = [
        "| Brier score of the candidate | better | not worse | worse | missed | median hours to better |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, trial in PAIRED_CASES:
        found = paired_trials(trial, SequentialTest(), runs, seed)
        shares = (found.better, found.not_worse, found.worse, found.missed)
        hours = "–" if np.isnan(found.hours) else f"{found.hours:.0f}"
        lines.append(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} | {hours} |")
    return lines


def changes_table(runs: int, seed: int = 7) -> list[str]:
    """Return the table of one sequence over three changes against a new test after each, as Markdown."""
    lines = [
        "| share | rate | false worse | −10% | −30% | false worse, new tests | −10%, new tests | −30%, new tests |",
        f"| {' | '.join(['---:'] * 8)} |",
    ]
    for share, rate in product((0.5, 0.1, 0.01), (0.2, 0.03)):
        found = [
            simulate(
                Trial(share=share, rate=rate, restarts=3, lift=-loss), SequentialTest(), runs, seed
            ).worse
            for simulate in (conversion_trials, restarted_trials)
            for loss in (0.0, *EFFECTS[:2])
        ]
        lines.append(f"| {share:.0%} | {rate:.0%} | {' | '.join(f'{share:.1%}' for share in found)} |")
    return lines


def main(runs: int = 500) -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    tables = "\n".join([*conversion_table(runs, cells()), "", *paired_table(runs), "", *changes_table(runs)])
    PAGE.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}")


if __name__ == "__main__":
    main()
