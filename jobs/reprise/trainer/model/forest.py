"""The forest: how it is grown, and how its grain is chosen by forward-chaining cross-validation."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from reprise.trainer.data.dataset import TrainingTable
from reprise.trainer.data.time_split import Fold
from reprise.trainer.model.onnx_parity import score_forest

TREES = 100
MAX_LEAVES = 512
ROWS_PER_TREE = 20_000
MIN_LEAF_ROWS = 5

_CV_ROWS = 40_000
_CV_TREES = 12
_MIN_LABELS_IN_FOLD = 10
_NO_WORSE = 0.001


@dataclass(frozen=True, slots=True)
class ForestParameters:
    """How a forest is grown; docs/adr/0003-forest-size.md says why these sizes.

    Attributes:
        trees: Number of trees.
        leaf_share: Fewest rows of a leaf, as a share of the rows that a tree is grown on; at least 5 rows.
        input_share: Share of the inputs that each split chooses from.
        max_leaves: Most leaves of a tree, which bounds the size of the model.
        rows_per_tree: Most rows drawn for a tree.
    """

    trees: int = TREES
    leaf_share: float = 0.002
    input_share: float = 0.2
    max_leaves: int = MAX_LEAVES
    rows_per_tree: int = ROWS_PER_TREE

    def as_dict(self) -> dict[str, Any]:
        """Return the parameters by name."""
        return asdict(self)


DEFAULT = ForestParameters()
CANDIDATES = tuple(replace(DEFAULT, leaf_share=leaf_share) for leaf_share in (0.008, 0.002, 0.0005))
"""From the coarsest grain to the finest."""


@dataclass(frozen=True, slots=True)
class CandidateScore:
    """What cross-validation found of one candidate: ROC AUC of each fold."""

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

    Missing inputs (NaN) are split on as such: each node learns on which side they go.
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


def usable_folds(table: TrainingTable, folds: tuple[Fold, ...]) -> tuple[Fold, ...]:
    """Return the folds with at least ten rows of either label on both sides."""
    return tuple(
        fold
        for fold in folds
        if all(
            _has_both_labels(table.labels[span.rows(table.timestamps_us)])
            for span in (fold.train, fold.validation)
        )
    )


def choose_parameters(
    table: TrainingTable,
    folds: tuple[Fold, ...],
    *,
    seed: int,
    jobs: int,
    advance: Callable[[], None],
    candidates: tuple[ForestParameters, ...] = CANDIDATES,
) -> Selection:
    """Compare the candidates on the folds of the training rows and return the choice.

    Rows are sampled to 40,000 and forests are small, as only the order of the candidates matters. Of
    those within 0.001 of the best mean ROC AUC, the coarsest is taken. ``advance`` is called after each
    forest. Without folds the choice is the default.
    """
    if not folds:
        return Selection(DEFAULT, (), 0)
    sample = table.sample(_CV_ROWS, seed)
    scores = []
    for candidate in candidates:
        small = replace(candidate, trees=_CV_TREES)
        aucs = []
        for fold in folds:
            aucs.append(_fold_auc(sample, fold, small, seed=seed, jobs=jobs))
            advance()
        scores.append(CandidateScore(candidate, tuple(aucs)))
    best = max(score.mean for score in scores)
    chosen = next(score for score in scores if score.mean >= best - _NO_WORSE)
    return Selection(chosen.parameters, tuple(scores), len(folds))


def _fold_auc(
    table: TrainingTable, fold: Fold, parameters: ForestParameters, *, seed: int, jobs: int
) -> float:
    train = table.part(fold.train.rows(table.timestamps_us))
    validation = table.part(fold.validation.rows(table.timestamps_us))
    forest = grow_forest(train.inputs, train.labels, parameters, seed=seed, jobs=jobs)
    return float(roc_auc_score(validation.labels, score_forest(forest, validation.inputs, jobs=jobs)))


def _has_both_labels(labels: npt.NDArray[np.bool_]) -> bool:
    positives = int(np.count_nonzero(labels))
    return min(positives, len(labels) - positives) >= _MIN_LABELS_IN_FOLD
