"""How often the verdicts of each kind of request are right, on held-out rows: the confidence that is stated."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import IsotonicRegression

from reprise.bundle import KindVerdict
from reprise.evaluation.classification_metrics import Floats, Indices, Labels
from reprise.evaluation.cluster_bootstrap import wilson_interval
from reprise.features.request_kinds import KINDS, pools

MIN_TAIL_ROWS = 100
"""Fewest rows that a stated confidence is a share of, if there are as many."""
_STEPS = 25

_Tail = tuple[list[float], list[float]]


def judge_verdicts(
    kinds: npt.NDArray[np.int8],
    labels: Labels,
    probabilities: Floats,
    thresholds: Sequence[float | None],
    users: Indices,
) -> dict[str, KindVerdict]:
    """Return for each kind of request how often its verdicts are right on held-out rows.

    Args:
        kinds: The place of each row's kind in ``KINDS``.
        labels: Whether the user bought.
        probabilities: The probabilities of a model that has not seen the rows.
        thresholds: The threshold of each kind; None if a purchase is never predicted.
        users: The number of each row's user.
    """
    verdicts = {}
    for name, threshold, parts in zip(KINDS, thresholds, pools(kinds), strict=True):
        predicted = probabilities >= (np.inf if threshold is None else threshold)
        yes, no = ([part & side for part in parts] for side in (predicted, ~predicted))
        used = [next((each for each in side if each.sum() >= MIN_TAIL_ROWS), side[-1]) for side in (yes, no)]
        edges, confidences = _tail_shares(~labels[used[1]], -probabilities[used[1]], users[used[1]])
        edges, confidences = [-edge for edge in edges], confidences or [1 - (threshold or 0.0)]
        if threshold is not None:
            above, right = _tail_shares(labels[used[0]], probabilities[used[0]], users[used[0]])
            edges += [threshold, *reversed(above)]
            confidences += reversed(right or [threshold])
        verdicts[name] = KindVerdict(
            threshold=threshold,
            edges=tuple(edges),
            confidences=tuple(confidences),
            pooled=used[1] is not no[0] or (threshold is not None and used[0] is not yes[0]),
            true_positives=int((yes[0] & labels).sum()),
            false_positives=int((yes[0] & ~labels).sum()),
            true_negatives=int((no[0] & ~labels).sum()),
            false_negatives=int((no[0] & labels).sum()),
        )
    return verdicts


def _tail_shares(right: Labels, extremeness: Floats, users: Indices) -> _Tail:
    """Return how often the verdicts of the most extreme rows are right, for up to 25 growing numbers of rows and all.

    For all rows, at the threshold, it is their share of right verdicts: the precision or the negative predictive value.
    For fewer it is the lower end of the 95% interval of their share, but never less than for more rows. The rate is
    first made monotone in the probability by isotonic regression, so that no lucky tail is stated. Rows of one user are
    not independent, so the interval is that of as many rows as there are users. If no row was wrong, even the
    share of all is that lower end.

    Returns:
        The edges that part the tails, the most extreme first, midway between two rows, one fewer than the shares; and
        how often each tail is right.
    """
    if len(right) == 0:
        return [], []
    order = np.argsort(-extremeness, kind="stable")
    ranked = extremeness[order]
    rates = IsotonicRegression().fit_transform(extremeness, right.astype(np.float64))[order]
    shares = np.clip(rates.cumsum() / np.arange(1, len(rates) + 1), 0.0, 1.0)
    ends = np.flatnonzero(
        np.diff(ranked)
    )  # The last row of each group of equal probabilities but the last group
    ends = ends[ends + 1 >= MIN_TAIL_ROWS]
    if len(ends):
        wanted = np.geomspace(ends[0], ends[-1] + 1, _STEPS) - 1
        ends = np.unique(ends[np.searchsorted(ends, wanted)])
    edges = [float(upper + lower) / 2 for upper, lower in zip(ranked[ends], ranked[ends + 1], strict=True)]
    places = [*ends, -1]
    new = np.zeros(len(order), dtype=np.bool_)
    new[np.unique(users[order], return_index=True)[1]] = True
    stated = [
        wilson_interval(share * count, int(count)).lower
        for share, count in zip(shares[places], new.cumsum()[places], strict=True)
    ]
    if not right.all():
        stated[-1] = float(shares[-1])
    return edges, np.maximum.accumulate(stated[::-1])[::-1].tolist()
