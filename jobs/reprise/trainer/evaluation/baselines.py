"""What the model is compared with: the purchase rate by one number, a small decision tree, and published models."""

from datetime import timedelta

import numpy as np
from sklearn.tree import DecisionTreeRegressor

from reprise.evaluation.classification_metrics import Floats, Labels
from reprise.evaluation.poisson_gamma import poisson_gamma
from reprise.trainer.data.dataset import Dataset

PREVALENCE = "prevalence"
RECENCY = "recency"
FREQUENCY = "frequency"
RFM_TREE = "rfm_tree"
POISSON_GAMMA = "poisson_gamma"

_BINS = 30
_PRIOR_ROWS = 20.0
_LEAVES = 32
_LEAF_ROWS = 20


def binned_rates(values: Floats, labels: Labels, wanted: Floats) -> Floats:
    """Return the share of positives among training rows with a value similar to each that is wanted.

    A value is, say, the days since the last purchase, and NaN for pairs that were never bought, which have a rate too.
    The rate may rise and fall, so that it captures cycles: it is that of up to 30 bins of equal count, each shrunk to
    the overall rate by a prior of 20 rows.
    """
    overall = float(labels.mean())
    bought = ~np.isnan(values)
    known = values[bought]
    quantiles = np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1]) if len(known) else np.empty(0)
    edges = np.unique(quantiles)
    bins = np.searchsorted(edges, known, side="right")
    rows = np.bincount(bins, minlength=len(edges) + 1)
    hits = np.bincount(bins, weights=labels[bought], minlength=len(edges) + 1)
    rates = (hits + _PRIOR_ROWS * overall) / (rows + _PRIOR_ROWS)
    never = labels[~bought]
    never_rate = (float(never.sum()) + _PRIOR_ROWS * overall) / (len(never) + _PRIOR_ROWS)
    return np.where(np.isnan(wanted), never_rate, rates[np.searchsorted(edges, wanted, side="right")])


def predict_baselines(train: Dataset, rows: Dataset, horizon: timedelta) -> dict[str, Floats]:
    """Return the probabilities of the baselines for some rows, each fitted on the training rows."""
    days = horizon / timedelta(days=1)
    values = {
        RECENCY: [each.recency_days for each in (train, rows)],
        FREQUENCY: [each.past.count for each in (train, rows)],
        RFM_TREE: _rfm_tree(train, rows),
        POISSON_GAMMA: [poisson_gamma(train.past, each.past, days) for each in (train, rows)],
    }
    return {PREVALENCE: np.full(len(rows), float(train.labels.mean()))} | {
        name: binned_rates(fitted, train.labels, wanted) for name, (fitted, wanted) in values.items()
    }


def fit_tree(columns: Floats, labels: Labels) -> DecisionTreeRegressor:
    """Return a small tree of the rates of positives."""
    tree = DecisionTreeRegressor(max_leaf_nodes=_LEAVES, min_samples_leaf=_LEAF_ROWS, random_state=0)
    return tree.fit(columns, labels.astype(np.float64))


def _rfm_tree(train: Dataset, rows: Dataset) -> list[Floats]:
    """Return a tree's rates of both by recency, frequency and spend of the pair, NaN for pairs never bought."""
    bought = train.past.count > 0
    if not bought.any():
        return [train.past.count, rows.past.count]

    def columns(each: Dataset) -> Floats:
        return np.column_stack([each.recency_days, each.past.count, each.past.spend])

    tree = fit_tree(columns(train)[bought], train.labels[bought])
    return [np.where(each.past.count > 0, tree.predict(columns(each)), np.nan) for each in (train, rows)]
