"""The random forest: growing, scoring, and choosing its leaf size by forward-chaining cross-validation."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from reprise.runtime.progress import progress
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.data.time_split import Fold

MIN_LEAF_ROWS = 5

_CV_ROWS = 40_000
_CV_TREES = 12
_MIN_LABELS_IN_FOLD = 10
_NO_WORSE = 0.001
_CHUNK_ROWS = 16_384

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ForestParameters:
    """Hyperparameters of a forest; docs/adr/0003-forest-size.md explains the sizes."""

    trees: int = 100  # Number of trees
    # Minimum rows of a leaf, as a share of the rows that a tree is grown on; at least 5 rows
    leaf_share: float = 0.002
    input_share: float = 0.2  # Share of the inputs that each split chooses from
    max_leaves: int = 512  # Maximum leaves of a tree, which bounds the size of the model
    rows_per_tree: int = 20_000  # Maximum rows drawn for a tree


DEFAULT = ForestParameters()
CANDIDATES = tuple(replace(DEFAULT, leaf_share=leaf_share) for leaf_share in (0.008, 0.002, 0.0005))
"""Hyperparameters that cross-validation compares, the largest leaves first."""


@dataclass(frozen=True, slots=True)
class CandidateScore:
    """ROC AUC of one candidate in each fold of the cross-validation."""

    parameters: ForestParameters
    aucs: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean ROC AUC over the folds."""
        return float(np.mean(self.aucs))


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen parameters, and what they were chosen from; no candidates where nothing could be compared."""

    parameters: ForestParameters
    candidates: tuple[CandidateScore, ...]
    folds: int


def grow_forest(
    inputs: npt.NDArray[np.float32],
    labels: npt.NDArray[np.bool_],
    parameters: ForestParameters,
    *,
    seed: int,
    jobs: int,
) -> RandomForestClassifier:
    """Return a forest with balanced class weights, the same for the same rows and seed.

    Each node learns on which side missing inputs (NaN) go.
    """
    rows = min(len(labels), parameters.rows_per_tree)
    forest = RandomForestClassifier(
        n_estimators=parameters.trees,
        min_samples_leaf=max(MIN_LEAF_ROWS, round(parameters.leaf_share * rows)),
        max_leaf_nodes=parameters.max_leaves,
        max_features=parameters.input_share,
        max_samples=rows,
        class_weight="balanced",
        n_jobs=jobs,
        random_state=seed,
    )
    return forest.fit(inputs, labels)


def score_forest(forest: RandomForestClassifier, rows: Matrix, *, jobs: int) -> Floats:
    """Return the share of votes for a purchase, for each row.

    The trees of a row are summed in order for any number of threads, which scikit-learn's own threads do not
    guarantee.
    """
    previous, forest.n_jobs = forest.n_jobs, 1
    try:
        return score_in_chunks(rows, lambda chunk: forest.predict_proba(chunk)[:, 1], jobs=jobs)
    finally:
        forest.n_jobs = previous


def score_in_chunks(
    rows: Matrix, score: Callable[[Matrix], npt.NDArray[np.floating[Any]]], *, jobs: int = 1
) -> Floats:
    """Return the scores of C-contiguous chunks of the rows, in their order."""
    if len(rows) == 0:
        return np.empty(0, dtype=np.float64)
    starts = range(0, len(rows), _CHUNK_ROWS)
    chunks = (np.ascontiguousarray(rows[start : start + _CHUNK_ROWS]) for start in starts)
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        return np.concatenate(list(pool.map(score, chunks))).astype(np.float64)


def choose_parameters(
    dataset: Dataset,
    folds: tuple[Fold, ...],
    *,
    seed: int,
    jobs: int,
    candidates: tuple[ForestParameters, ...] = CANDIDATES,
) -> Selection:
    """Return the first candidate within 0.001 of the best mean ROC AUC over the folds; the default without folds.

    Folds with fewer than ten rows of either label on a side are left out. Rows are sampled to 40,000 and the forests
    are small, because only the order of the candidates matters.
    """
    sample = dataset.sample(_CV_ROWS, seed)
    usable = [
        (sample.within(fold.train), sample.within(fold.validation))
        for fold in folds
        if all(_has_both_labels(dataset.within(span).labels) for span in (fold.train, fold.validation))
    ]
    if not usable:
        return Selection(DEFAULT, (), 0)
    scores = []
    with progress("Choosing the leaf size", len(usable) * len(candidates), "forests") as bar:
        for candidate in candidates:
            small = replace(candidate, trees=_CV_TREES)
            aucs = []
            for train, validation in usable:
                forest = grow_forest(train.inputs, train.labels, small, seed=seed, jobs=jobs)
                votes = score_forest(forest, validation.inputs, jobs=jobs)
                aucs.append(float(roc_auc_score(validation.labels, votes)))
                bar.advance()
            scores.append(CandidateScore(candidate, tuple(aucs)))
    best = max(score.mean for score in scores)
    chosen = next(score for score in scores if score.mean >= best - _NO_WORSE)
    return Selection(chosen.parameters, tuple(scores), len(usable))


def _has_both_labels(labels: npt.NDArray[np.bool_]) -> bool:
    positives = int(np.count_nonzero(labels))
    return min(positives, len(labels) - positives) >= _MIN_LABELS_IN_FOLD
