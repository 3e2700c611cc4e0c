"""Metrics of rankings within users: each user's list is judged alone, and users count alike."""

from collections.abc import Mapping

import numpy as np

from reprise.evaluation.classification_metrics import Floats, Indices, Labels
from reprise.evaluation.cluster_bootstrap import Interval, bootstrap

TOP = 10


def user_metrics(users: Indices, labels: Labels, scores: Floats) -> dict[str, Floats]:
    """Return recall and NDCG of each user's first ten, and the AUC within the user; NaN where undefined.

    ``users`` numbers the users of the rows from 0. All three need a positive row, the AUC also a negative one. Equal
    scores stand in an order that does not depend on the rows' own, and count half in the AUC.
    """
    count = int(users.max()) + 1
    shuffled = np.random.default_rng(0).permutation(len(users))
    order = np.lexsort((shuffled, -scores, users))
    rows = np.bincount(users, minlength=count)
    starts = np.concatenate(([0], np.cumsum(rows)[:-1]))
    place = np.arange(len(users)) - starts[users[order]]
    true = labels[order].astype(np.float64)
    positives = np.bincount(users, labels, count)
    first = np.where(place < TOP, true, 0.0)
    discount = 1 / np.log2(np.arange(2, TOP + 2))
    gained = np.bincount(users[order], first * discount[np.minimum(place, TOP - 1)], count)
    ideal = np.concatenate(([np.nan], np.cumsum(discount)))[np.minimum(positives, TOP).astype(np.int64)]
    found = np.bincount(users[order], first, count)
    possible = np.where(positives > 0, np.minimum(positives, TOP), np.nan)
    # Ranks from the lowest score, equal scores sharing their mean rank.
    _, tied, sizes = np.unique(
        np.stack([users[order], -scores[order]]), axis=1, return_inverse=True, return_counts=True
    )
    tied = tied.reshape(-1)
    ranks = (np.bincount(tied, rows[users[order]] - place) / sizes)[tied]
    pairs = positives * (rows - positives)
    above = np.bincount(users[order], ranks * true, count) - positives * (positives + 1) / 2
    auc = np.divide(above, pairs, out=np.full(count, np.nan), where=pairs > 0)
    return {"recall@10": found / possible, "NDCG@10": gained / ideal, "AUC within user": auc}


def compare_rankings(
    users: Indices, labels: Labels, scores: Mapping[str, Floats], *, draws: int = 200
) -> dict[str, dict[str, tuple[Interval, Interval]]]:
    """Return by scorer and metric its mean over users, and the first scorer's lead over it, with 95% intervals.

    Recall is of the purchases that a list of ten has room for.
    """
    each = {name: user_metrics(users, labels, values) for name, values in scores.items()}
    first = next(iter(each.values()))
    columns = {
        (name, metric, lead): first[metric] - values if lead else values
        for name, metrics in each.items()
        for metric, values in metrics.items()
        for lead in (False, True)
    }

    def means(weights: Floats | None) -> dict[str, float]:
        found = {}
        for number, values in enumerate(columns.values()):
            known = ~np.isnan(values)
            weight = np.ones(len(values)) if weights is None else weights
            total = weight[known].sum()
            found[str(number)] = (
                float((weight * np.nan_to_num(values)).sum() / total) if total else float("nan")
            )
        return found

    intervals = bootstrap(means, np.arange(len(next(iter(first.values())))), draws=draws, seed=0)
    by_column = dict(zip(columns, intervals.values(), strict=True))
    return {
        name: {metric: (by_column[name, metric, False], by_column[name, metric, True]) for metric in metrics}
        for name, metrics in each.items()
    }
