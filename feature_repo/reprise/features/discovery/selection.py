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
    """Which candidates are kept.

    Attributes:
        kept: The candidates kept, in the order of discovery.
        dropped: The reason for each other candidate, by name.
        importance: Impurity importance by name, of the candidates that the forest was trained on; they sum to 1.
    """

    kept: tuple[Candidate, ...]
    dropped: dict[str, str]
    importance: dict[str, float]


def select(
    candidates: Sequence[Candidate],
    values: FloatArray,
    label: NDArray[np.bool_],
    *,
    max_inputs: int,
    duplicate_correlation: float,
    seed: int = 0,
) -> Selection:
    """Decide which candidates to keep.

    Drops candidates that have nearly the same value in every row, then those whose ranks correlate with another's,
    then all but the ``max_inputs`` most important in a random forest. Named candidates are always kept.

    Args:
        candidates: The candidates.
        values: Their values on a sample, shape (rows, candidates), NaN where missing.
        label: Whether the pair is bought within the horizon, shape (rows,).
        max_inputs: As in ``Definition``.
        duplicate_correlation: As in ``Definition``.
        seed: Of the sampling.

    Raises:
        NotEnoughEventsError: The sample has too few rows of one class.
    """
    fewest = int(min(label.sum(), (~label).sum()))
    if fewest < _MIN_ROWS_PER_CLASS:
        raise NotEnoughEventsError(
            f"the sample has {int(label.sum())} rows with and {int((~label).sum())} without a purchase within the"
            f" horizon; selection needs {_MIN_ROWS_PER_CLASS} of each: give more events, or a shorter horizon"
        )
    rng = np.random.default_rng(seed)
    filled = np.where(np.isnan(values), _MISSING, values)
    dropped = _uninformative(candidates, filled)
    left = [at for at, c in enumerate(candidates) if c.name not in dropped]
    duplicates = _duplicates(candidates, left, filled, duplicate_correlation, rng)
    dropped |= duplicates
    left = [at for at in left if candidates[at].name not in duplicates]
    importance = _importance(candidates, left, filled, label, rng)
    unnamed = sorted(
        (candidates[at].name for at in left if not candidates[at].named), key=lambda n: -importance[n]
    )
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


def _duplicates(
    candidates: Sequence[Candidate],
    left: Sequence[int],
    filled: FloatArray,
    threshold: float,
    rng: np.random.Generator,
) -> dict[str, str]:
    """Return the dropped of each correlated group; named candidates are preferred, then those of lower depth."""
    rows = rng.choice(len(filled), min(len(filled), _RANKED_ROWS), replace=False)
    ranks = pd.DataFrame(filled[rows][:, left]).rank().to_numpy()
    centred = ranks - ranks.mean(axis=0)
    norm = np.sqrt((centred**2).sum(axis=0))
    correlation = np.abs(centred.T @ centred / np.maximum(np.outer(norm, norm), 1e-12))
    preference = sorted(
        range(len(left)),
        key=lambda i: (not candidates[left[i]].named, candidates[left[i]].compiled.depth, left[i]),
    )
    kept: list[int] = []
    dropped = {}
    for i in preference:
        candidate = candidates[left[i]]
        twin = next((j for j in kept if correlation[i, j] > threshold), None)
        if twin is None or candidate.named:
            kept.append(i)
        else:
            other = candidates[left[twin]].name
            dropped[candidate.name] = (
                f"near-duplicate of {other}: rank correlation {correlation[i, twin]:.4f}"
            )
    return dropped


def _importance(
    candidates: Sequence[Candidate],
    left: Sequence[int],
    filled: FloatArray,
    label: NDArray[np.bool_],
    rng: np.random.Generator,
) -> dict[str, float]:
    rows = np.sort(rng.choice(len(filled), min(len(filled), _FOREST_ROWS), replace=False))
    forest = RandomForestClassifier(
        n_estimators=60, max_depth=12, min_samples_leaf=20, max_features="sqrt", n_jobs=-1, random_state=0
    )
    forest.fit(filled[rows][:, left].astype(np.float32), label[rows])
    return {
        candidates[at].name: float(value) for at, value in zip(left, forest.feature_importances_, strict=True)
    }
