"""The random forest: growing, scoring, and choosing its leaf size by cross-validation."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from reprise.features.request_kinds import ONE_KIND, KindColumns
from reprise.runtime.progress import progress
from reprise.trainer.data.dataset import Dataset

MIN_GROUP_LABELS = 30
"""Fewest rows of each label with which pairs bought before, and the others, get a forest of their own."""

_CV_ROWS = 40_000
_CV_TREES = 15
_MIN_LABELS_IN_FOLD = 10
_NO_WORSE = 0.001
_CHUNK_ROWS = 16_384

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ForestParameters:
    """Hyperparameters of a forest; docs/adr/0003-forest-size.md explains the sizes."""

    trees: int = 60  # Number of trees
    leaf_rows: int = 40  # Minimum rows of a leaf
    repeat_leaf_rows: int = 40  # The same in the forest of pairs that were bought before
    input_share: float = 0.35  # Share of the inputs that each split chooses from
    max_leaves: int = 512  # Maximum leaves of a tree, which bounds the size of the model
    rows_per_tree: int = 20_000  # Maximum rows drawn for a tree


DEFAULT = ForestParameters()
LEAF_ROWS = (160, 40, 10)
"""Minimum rows of a leaf that cross-validation compares, the largest first."""


@dataclass(frozen=True, slots=True)
class CandidateScore:
    """ROC AUC of one leaf size in each fold, of pairs never bought and of those bought before.

    A fold is left out of a group of which it has too few labels.
    """

    leaf_rows: int
    first_aucs: tuple[float, ...]
    repeat_aucs: tuple[float, ...]


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
        min_samples_leaf=parameters.leaf_rows,
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


@dataclass(frozen=True, slots=True)
class SplitForest:
    """Two forests, of which each row belongs to one: by whether the pair was bought before."""

    first: RandomForestClassifier  # For pairs that were not bought before; for all if there is no other
    repeat: RandomForestClassifier | None = None
    columns: KindColumns = ONE_KIND

    @property
    def parts(self) -> tuple[RandomForestClassifier, ...]:
        """The forests."""
        return (self.first,) if self.repeat is None else (self.first, self.repeat)

    def impurity_importances(self) -> Floats:
        """Return each input's share of the impurity decrease, the mean over the forests."""
        shares = [np.asarray(forest.feature_importances_, np.float64) for forest in self.parts]
        return np.asarray(np.stack(shares).mean(axis=0), np.float64)

    def score(self, rows: Matrix, *, jobs: int) -> Floats:
        """Return the share of votes for a purchase, for each row, of the forest that it belongs to."""
        if self.repeat is None:
            return score_forest(self.first, rows, jobs=jobs)
        repeat, votes = self.columns.repeat(rows), np.empty(len(rows))
        for forest, mask in ((self.first, ~repeat), (self.repeat, repeat)):
            votes[mask] = score_forest(forest, rows[mask], jobs=jobs)
        return votes


def grow_split_forest(
    dataset: Dataset, columns: KindColumns, parameters: ForestParameters, *, seed: int, jobs: int
) -> SplitForest:
    """Return a forest for each group of pairs, or one for all if a group has fewer than thirty rows of either label."""
    repeat = columns.repeat(dataset.inputs)

    def grow(rows: Dataset, leaf_rows: int) -> RandomForestClassifier:
        sized = replace(parameters, leaf_rows=leaf_rows)
        return grow_forest(rows.inputs, rows.labels, sized, seed=seed, jobs=jobs)

    first, second = dataset.subset(~repeat), dataset.subset(repeat)
    if any(
        min(group.positives, len(group) - group.positives) < MIN_GROUP_LABELS for group in (first, second)
    ):
        return SplitForest(grow(dataset, parameters.leaf_rows), None, columns)
    return SplitForest(grow(first, parameters.leaf_rows), grow(second, parameters.repeat_leaf_rows), columns)


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
    folds: int,
    columns: KindColumns = ONE_KIND,
    *,
    seed: int,
    jobs: int,
    leaf_rows: tuple[int, ...] = LEAF_ROWS,
) -> Selection:
    """Return the default parameters with, for each group of pairs, the leaf size of the best mean ROC AUC.

    Of leaf sizes within 0.001 of the best, the first is chosen. Each fold is a part of the users, judged by forests
    that are grown on the rows of the others. So the forests learn from as long a time as the one that is chosen for.
    Where a fold has one forest for all pairs, its AUC over all counts as that of pairs never bought. Without a fold
    that has ten rows of either label, these have the default size, and others the same. Rows are sampled to 40,000
    and the forests are small, because only the order of the sizes matters.
    """
    sample = dataset.sample(_CV_ROWS, seed)
    fold = np.random.default_rng(seed).integers(0, max(folds, 1), int(dataset.users.max(initial=0)) + 1)[
        sample.users
    ]
    parts = [(sample.subset(fold != number), sample.subset(fold == number)) for number in range(folds)]
    usable = [pair for pair in parts if all(_has_both_labels(part.labels) for part in pair)]
    scores = []
    with progress("Choosing the leaf size", len(usable) * len(leaf_rows), "forests") as bar:
        for size in leaf_rows:
            small = replace(DEFAULT, trees=_CV_TREES, leaf_rows=size, repeat_leaf_rows=size)
            aucs: tuple[list[float], list[float]] = ([], [])
            for train, validation in usable:
                forest = grow_split_forest(train, columns, small, seed=seed, jobs=jobs)
                votes = forest.score(validation.inputs, jobs=jobs)
                repeat = columns.repeat(validation.inputs)
                groups = (np.ones_like(repeat),) if forest.repeat is None else (~repeat, repeat)
                for found, mask in zip(aucs, groups, strict=False):
                    if _has_both_labels(validation.labels[mask]):
                        found.append(float(roc_auc_score(validation.labels[mask], votes[mask])))
                bar.advance()
            scores.append(CandidateScore(size, *map(tuple, aucs)))
    first = _best_leaf_rows({score.leaf_rows: score.first_aucs for score in scores}, DEFAULT.leaf_rows)
    second = _best_leaf_rows({score.leaf_rows: score.repeat_aucs for score in scores}, first)
    chosen = replace(DEFAULT, leaf_rows=first, repeat_leaf_rows=second)
    return Selection(chosen, tuple(scores) if usable else (), len(usable))


def _best_leaf_rows(aucs: Mapping[int, Sequence[float]], otherwise: int) -> int:
    means = {size: float(np.mean(values)) for size, values in aucs.items() if values}
    return next((size for size, mean in means.items() if mean >= max(means.values()) - _NO_WORSE), otherwise)


def _has_both_labels(labels: npt.NDArray[np.bool_]) -> bool:
    positives = int(np.count_nonzero(labels))
    return min(positives, len(labels) - positives) >= _MIN_LABELS_IN_FOLD
