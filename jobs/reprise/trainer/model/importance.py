"""How much each input matters to the model."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from sklearn.metrics import roc_auc_score

from reprise.bundle import Importance
from reprise.bundle.scorer import Scorer
from reprise.evaluation.classification_metrics import Floats
from reprise.runtime.progress import progress
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.model.onnx_graph import score_rows

PERMUTATION_ROWS = 4_000
_REPEATS = 2
_GROUP_REPEATS = 5


def importances(
    impurity: Floats,
    scorer: Scorer,
    evaluation: Dataset,
    *,
    seed: int,
    jobs: int,
) -> tuple[Importance, ...]:
    """Return the importance of every input, the most important by permutation first.

    Permutation importance is the mean drop of ROC AUC over two shuffles of the column, on at most 4,000
    evaluation rows. It is 0 for an input that no tree uses.
    """
    sample = evaluation.sample(PERMUTATION_ROWS, seed)
    rows = np.ascontiguousarray(sample.inputs)
    intact = roc_auc_score(sample.labels, score_rows(scorer, rows))

    def drop(position: int) -> float:
        if impurity[position] == 0.0:
            return 0.0
        random = np.random.default_rng([seed, position])
        shuffled = rows.copy()
        aucs = []
        for _ in range(_REPEATS):
            shuffled[:, position] = random.permutation(rows[:, position])
            aucs.append(roc_auc_score(sample.labels, score_rows(scorer, shuffled)))
        return float(intact - np.mean(aucs))

    found, names = [], scorer.input_names
    with (
        progress("Shuffling inputs", len(names), "inputs") as bar,
        ThreadPoolExecutor(max_workers=jobs) as pool,
    ):
        for name, share, permutation in zip(names, impurity, pool.map(drop, range(len(names))), strict=True):
            found.append(Importance(name=name, impurity=float(share), permutation=permutation))
            bar.advance()
    return tuple(sorted(found, key=lambda item: (-item.permutation, -item.impurity, item.name)))


def group_importances(
    scorer: Scorer, evaluation: Dataset, groups: Mapping[str, Sequence[int]], seed: int
) -> dict[str, tuple[float, float]]:
    """Return the drop of ROC AUC when all inputs of a group are shuffled together, the largest first.

    Inputs that say the same stand in for each other, so a group can matter although none of its inputs does. Mean and
    standard deviation over five shuffles, on at most 4,000 evaluation rows.
    """
    sample = evaluation.sample(PERMUTATION_ROWS, seed)
    rows = np.ascontiguousarray(sample.inputs)
    intact = roc_auc_score(sample.labels, score_rows(scorer, rows))
    found = {}
    for name, positions in groups.items():
        random, drops = np.random.default_rng(seed), []
        for _ in range(_GROUP_REPEATS):
            shuffled, order = rows.copy(), random.permutation(len(rows))
            shuffled[:, positions] = rows[order][:, positions]
            drops.append(intact - roc_auc_score(sample.labels, score_rows(scorer, shuffled)))
        found[name] = (float(np.mean(drops)), float(np.std(drops, ddof=1)))
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))
