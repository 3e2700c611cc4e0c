"""Made-up labelled rows of a year, and settings of a training on them."""

from datetime import timedelta

import numpy as np

from reprise.evaluation.poisson_gamma import PastPurchases
from reprise.evaluation.time_split import TimeSplit, split_by_time
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.settings import TrainerSettings

DAY_US = 86_400_000_000
HORIZON = timedelta(days=10)
NAMES = ("due", "affinity", "noise", "constant")
SETTINGS = TrainerSettings(events="e.csv", out="models", horizon=HORIZON, seed=1, jobs=2, cv_folds=2)


def make_table(rows: int = 12_000, *, seed: int = 0, truth: bool = True) -> tuple[Dataset, TimeSplit]:
    """A year of rows whose label depends on a cycle since the last purchase and on an affinity."""
    random = np.random.default_rng(seed)
    timestamps = np.sort(random.integers(0, 365 * DAY_US, rows))
    recency = random.uniform(0, 60, rows)
    recency[random.random(rows) < 0.6] = np.nan
    affinity = random.normal(size=rows)
    cycle = np.where(np.isnan(recency), -1.0, 2.5 * np.exp(-(((np.nan_to_num(recency) - 30) / 10) ** 2)))
    probability = 1 / (1 + np.exp(-(cycle + affinity - 1.5)))
    inputs = np.column_stack((recency, affinity, random.normal(size=rows), np.ones(rows)))
    table = Dataset(
        inputs=np.asfortranarray(inputs, dtype=np.float32),
        labels=random.random(rows) < probability,
        timestamps_us=timestamps,
        repeat_candidates=~np.isnan(recency),
        recency_days=recency,
        users=random.integers(0, 400, rows),
        asked=np.zeros(rows, np.int8),
        truth=probability if truth else None,
        past=PastPurchases(*[np.where(np.isnan(recency), np.nan, 1.0)] * 7),
    )
    return table, split_by_time(0, 365 * DAY_US, HORIZON)
