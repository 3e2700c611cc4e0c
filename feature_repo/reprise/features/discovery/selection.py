"""Feature selection: drops candidates without information, near-duplicates and unimportant ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from reprise.features.discovery.candidates import Candidate
from reprise.features.exceptions import NotEnoughEventsError
from reprise.features.feature_functions import FloatArray

_CONSTANT_SHARE = 0.9995
_MISSING = -1.0
_RANKED_ROWS = 20_000
_FOREST_ROWS = 60_000
_MIN_ROWS_PER_CLASS = 50


@dataclass(frozen=True)
class Selection:
    """Which candidates are kept."""

    kept: tuple[Candidate, ...]  # in the order of discovery
    dropped: dict[str, str]  # the reason for each other candidate, by name
    importance: dict[str, float]  # impurity importance by name, of those the forest ranked; they sum to 1


def select(
    candidates: Sequence[Candidate],
    values: FloatArray,
    label: NDArray[np.bool_],
    *,
    max_inputs: int,
    duplicate_correlation: float,
) -> Selection:
    """Decide which candidates to keep; equal arguments give equal selections.

    Drops candidates that have nearly the same value in every row, then those whose ranks correlate with another's,
    then all but the ``max_inputs`` most important in a random forest. Named candidates are always kept.

    Args:
        candidates: The candidates.
        values: Their values on a sample, shape (rows, candidates), NaN where missing.
        label: Whether the pair is bought within the horizon, shape (rows,).
        max_inputs: As in ``Definition``.
        duplicate_correlation: As in ``Definition``.

    Raises:
        NotEnoughEventsError: The sample has too few rows of one class.
    """
    positive = int(label.sum())
    negative = len(label) - positive
    if min(positive, negative) < _MIN_ROWS_PER_CLASS:
        raise NotEnoughEventsError(
            f"the sample has {positive} rows with and {negative} without a purchase within the horizon; selection needs"
            f" {_MIN_ROWS_PER_CLASS} of each: give more events, or a {'longer' if positive < negative else 'shorter'}"
            " horizon"
        )
    rng = np.random.default_rng(0)
    filled = np.where(np.isnan(values), _MISSING, values)

    def sample(rows: int) -> NDArray[np.int64]:
        return rng.choice(len(filled), min(len(filled), rows), replace=False)

    dropped = _uninformative(candidates, filled)
    left = [at for at, c in enumerate(candidates) if c.name not in dropped]
    rows = sample(_RANKED_ROWS)
    dropped |= _duplicates([candidates[at] for at in left], filled[rows][:, left], duplicate_correlation)
    left = [at for at in left if candidates[at].name not in dropped]
    rows = np.sort(sample(_FOREST_ROWS))
    forest = RandomForestClassifier(
        n_estimators=60, max_depth=12, min_samples_leaf=20, max_features="sqrt", n_jobs=-1, random_state=0
    ).fit(filled[rows][:, left].astype(np.float32), label[rows])
    names = [candidates[at].name for at in left]
    importance = dict(zip(names, map(float, forest.feature_importances_), strict=True))
    unnamed = [candidates[at].name for at in left if not candidates[at].named]
    unnamed.sort(key=lambda name: -importance[name])
    for rank, name in enumerate(unnamed[max_inputs:], start=max_inputs + 1):
        dropped[name] = f"importance {importance[name]:.5f} is rank {rank} of at most {max_inputs}"
    kept = tuple(c for c in candidates if c.name not in dropped)
    return Selection(kept, dropped, importance)


def _uninformative(candidates: Sequence[Candidate], filled: FloatArray) -> dict[str, str]:
    dropped = {}
    for at, candidate in enumerate(candidates):
        values, counts = np.unique(filled[:, at], return_counts=True)
        share = counts.max() / len(filled)
        if share >= _CONSTANT_SHARE and not candidate.named:
            value = values[counts.argmax()]
            shown = "missing" if value == _MISSING else f"{value:g}"
            dropped[candidate.name] = f"no information: {shown} in {share:.2%} of rows"
    return dropped


def _duplicates(candidates: Sequence[Candidate], values: FloatArray, threshold: float) -> dict[str, str]:
    """Return the dropped of each correlated group; named candidates are preferred, then those of lower depth."""
    ranks = pd.DataFrame(values).rank().to_numpy()
    centred = ranks - ranks.mean(axis=0)
    norm = np.sqrt((centred**2).sum(axis=0))
    correlation = np.abs(centred.T @ centred / np.maximum(np.outer(norm, norm), 1e-12))
    kept: list[int] = []
    dropped = {}
    for i in sorted(
        range(len(candidates)), key=lambda i: (not candidates[i].named, candidates[i].feature.get_depth(), i)
    ):
        twin = next((j for j in kept if correlation[i, j] > threshold), None)
        if twin is None or candidates[i].named:
            kept.append(i)
        else:
            dropped[candidates[i].name] = (
                f"near-duplicate of {candidates[twin].name}: rank correlation {correlation[i, twin]:.4f}"
            )
    return dropped
