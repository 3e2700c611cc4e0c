"""Measure the posterior oracle at rows of a synthetic shop: how it ranks, whether it is calibrated, what beats it.

`measure_first_month.py SEED START --posterior` prints it for the first month of a model in service.
"""

from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score

from bench.trainer.posterior_oracle import PosteriorOracle, by_user
from reprise import sql
from reprise.evaluation.cluster_bootstrap import bootstrap
from reprise.shop.population import Products
from reprise.trainer.data.dataset import Dataset

FOLDS, DRAWS = 4, 100


def posterior_of(
    rows: Dataset, events: Path, products: Products, start_us: int, horizon_us: int
) -> np.ndarray:
    """Return the posterior at each row, each asked at an event; events are told apart by their instants."""
    first_us, last_us = int(rows.timestamps_us[0]), int(rows.timestamps_us[-1])
    with sql.connect() as connection:
        columns = connection.execute(
            "SELECT ltrim(user_id, 'u')::BIGINT AS user, ltrim(product_id, 'p')::BIGINT AS product,"
            " (event_type = 'purchase')::BIGINT AS type, epoch_us(timestamp) AS instant"
            " FROM read_parquet(?) WHERE epoch_us(timestamp) <= ? ORDER BY instant",
            [str(events), last_us],
        ).fetchnumpy()
    users, product, event_type, instant = (np.asarray(columns[name]) for name in columns)
    oracle = PosteriorOracle(products, start_us, horizon_us)
    probability = np.full(len(instant), np.nan)
    for _, mine in by_user(users):
        wanted = instant[mine] >= first_us
        probability[mine] = oracle.predict(product[mine], event_type[mine], instant[mine], wanted)
    assert (np.diff(instant) > 0).all(), "events of a shop have instants of their own"
    place = np.searchsorted(instant, rows.timestamps_us)
    assert (instant[place] == rows.timestamps_us).all()
    return probability[place]


def print_posterior(rows: Dataset, purchase: np.ndarray, scores: np.ndarray, posterior: np.ndarray) -> None:
    """Print the figures of rows that are all asked at events; ``scores`` are the model's probabilities."""
    assert rows.truth is not None
    hidden, repeat = rows.truth, rows.repeat_candidates
    boosted = boost(rows, posterior)
    for title, part in (("all", repeat | ~repeat), ("repeat candidates", repeat), ("never bought", ~repeat)):
        labels, users = rows.labels[part], rows.users[part]
        print(f"{title}: {len(labels):,} rows, share bought {labels.mean():.4f}")
        for name, scored in (("model", scores), ("posterior", posterior), ("hidden", hidden)):
            each = scored[part]
            print(
                f"  {name:<9} ROC AUC {roc_auc_score(labels, each):.4f}, log loss {log_loss(labels, each):.4f}"
            )
        print("  " + gain(labels, users, posterior[part], boosted[part]), flush=True)
    kinds = {
        f"{event}, {past}": (purchase == at_purchase) & (repeat == bought)
        for event, at_purchase in (("view", False), ("purchase", True))
        for past, bought in (("bought before", True), ("never bought", False))
    }
    for title, part in {"all": repeat | ~repeat, **kinds}.items():
        print(f"calibration, {title}: {calibration(rows.subset(part), posterior[part])}")


def boost(rows: Dataset, probability: np.ndarray) -> np.ndarray:
    """Return the probabilities of boosted trees on a probability and all inputs, grown on other users."""
    odds = np.log(np.clip(probability, 1e-6, 1) / np.clip(1 - probability, 1e-6, 1))
    inputs = np.column_stack([odds, rows.inputs])
    folds = np.random.default_rng(0).integers(0, FOLDS, int(rows.users.max()) + 1)[rows.users]
    boosted = np.empty(len(rows))
    for fold in range(FOLDS):
        trees = HistGradientBoostingClassifier(
            max_iter=150, learning_rate=0.05, max_leaf_nodes=15, min_samples_leaf=200, l2_regularization=5,
            random_state=0,
        )  # fmt: skip
        mine = folds == fold
        trees.fit(inputs[~mine], rows.labels[~mine])
        boosted[mine] = trees.predict_proba(inputs[mine])[:, 1]
    return boosted


def gain(labels: np.ndarray, users: np.ndarray, probability: np.ndarray, boosted: np.ndarray) -> str:
    """Return the boosted scores, with 95 % intervals over users of what they gain."""

    def gained(weights: np.ndarray | None) -> dict[str, float]:
        aucs, losses = (
            [measure(labels, each, sample_weight=weights) for each in (probability, boosted)]
            for measure in (roc_auc_score, log_loss)
        )
        return {"auc": aucs[1] - aucs[0], "loss": losses[0] - losses[1]}

    found = bootstrap(gained, np.unique(users, return_inverse=True)[1], draws=DRAWS, seed=1)
    auc, loss = found["auc"], found["loss"]
    return (
        f"boosted ROC AUC {roc_auc_score(labels, boosted):.4f} ({auc.lower:+.4f} to {auc.upper:+.4f}),"
        f" log loss {log_loss(labels, boosted):.4f} (better by {loss.lower:+.4f} to {loss.upper:+.4f})"
    )


def calibration(rows: Dataset, probability: np.ndarray) -> str:
    """Return mean posterior, mean given hidden constants and share bought, of all rows and of tenths by posterior.

    The posterior's difference from the share follows in standard errors over users. The hidden constants' mean tells
    with far less noise whether the posterior is right, except at views, where it ignores the rest of the session.
    """
    tenths = np.array_split(np.argsort(probability), 10)
    return f"{means(rows, probability)}; tenths {', '.join(means(rows.subset(t), probability[t]) for t in tenths)}"


def means(rows: Dataset, probability: np.ndarray) -> str:
    assert rows.truth is not None
    by_user_errors = np.bincount(rows.users, rows.labels - probability)
    # Where nobody bought, errors within users hide the variance that the probabilities say
    variance = max((by_user_errors**2).sum(), (probability * (1 - probability)).sum())
    errors = by_user_errors.sum() / np.sqrt(variance)
    return f"{probability.mean():.3f} {rows.truth.mean():.3f} {rows.labels.mean():.3f} ({errors:+.1f})"
