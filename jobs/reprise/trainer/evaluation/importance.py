"""How much each input matters to the model."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from reprise.bundle import Importance
from reprise.trainer.data.dataset import TrainingTable
from reprise.trainer.model.onnx_parity import GraphScorer

PERMUTATION_ROWS = 4_000
_REPEATS = 2


def importances(
    forest: RandomForestClassifier,
    scorer: GraphScorer,
    evaluation: TrainingTable,
    names: tuple[str, ...],
    *,
    seed: int,
    jobs: int,
    advance: Callable[[], None],
) -> tuple[Importance, ...]:
    """Return the importance of every input, the most important by permutation first.

    Permutation importance is the mean drop of ROC AUC over two shuffles of the column, on at most 4,000
    evaluation rows; it is 0 for an input that no tree asks for. ``advance`` is called after each input.
    """
    sample = evaluation.sample(PERMUTATION_ROWS, seed)
    rows = np.ascontiguousarray(sample.inputs)
    intact = roc_auc_score(sample.labels, scorer.score(rows))
    impurity = forest.feature_importances_

    def drop(position: int) -> float:
        if impurity[position] == 0.0:
            return 0.0
        random = np.random.default_rng([seed, position])
        shuffled = rows.copy()
        aucs = []
        for _ in range(_REPEATS):
            shuffled[:, position] = random.permutation(rows[:, position])
            aucs.append(roc_auc_score(sample.labels, scorer.score(shuffled)))
        return float(intact - np.mean(aucs))

    found = []
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for position, permutation in enumerate(pool.map(drop, range(len(names)))):
            found.append(
                Importance(name=names[position], impurity=float(impurity[position]), permutation=permutation)
            )
            advance()
    return tuple(sorted(found, key=lambda item: (-item.permutation, -item.impurity, item.name)))
