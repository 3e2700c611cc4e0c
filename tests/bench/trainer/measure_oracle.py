"""Measure whether the oracle can be beaten: by boosted trees on its probability, the recency and all model inputs.

    reprise datagen --out history.parquet --truth truth.parquet --seed 4711 --end 2026-11-01
    PYTHONPATH=tests/bench/trainer python tests/bench/trainer/measure_oracle.py history.parquet truth.parquet

It prints the table of docs/model.md. The trees are grown on other users than they are judged on.
"""

import sys
from pathlib import Path

import numpy as np
from measure_forest_size import read
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score

from reprise.evaluation.cluster_bootstrap import bootstrap
from reprise.features.plan import Plan

FOLDS, DRAWS = 4, 60


def main() -> None:
    plan = Plan.load(Path("feature_repo/plan/plan.json"))
    table, split = read(Path(sys.argv[1]), Path(sys.argv[2]), plan)
    rows = table.within(split.refit).at_events
    judged = rows.timestamps_us >= split.evaluation.start_us
    assert rows.truth is not None
    odds = np.log(np.clip(rows.truth, 1e-6, 1 - 1e-6) / np.clip(1 - rows.truth, 1e-6, 1))
    inputs = np.column_stack([odds, rows.recency_days, rows.inputs])
    folds = np.random.default_rng(0).integers(0, FOLDS, int(rows.users.max()) + 1)[rows.users]
    boosted = np.empty(len(rows))
    for fold in range(FOLDS):
        trees = HistGradientBoostingClassifier(
            max_iter=150, learning_rate=0.05, max_leaf_nodes=15, min_samples_leaf=200, l2_regularization=5,
            random_state=0,
        )  # fmt: skip
        mine = folds == fold
        trees.fit(inputs[~mine], rows.labels[~mine])
        boosted[mine & judged] = trees.predict_proba(inputs[mine & judged])[:, 1]
    for name, part in (
        ("all", judged),
        ("repeat candidates", judged & rows.repeat_candidates),
        ("never bought", judged & ~rows.repeat_candidates),
    ):
        labels, oracle, other = rows.labels[part], rows.truth[part], boosted[part]

        def gain(weights: np.ndarray | None, labels=labels, oracle=oracle, other=other) -> dict[str, float]:
            aucs = [roc_auc_score(labels, each, sample_weight=weights) for each in (oracle, other)]
            return {"oracle": aucs[0], "boosted": aucs[1], "gain": aucs[1] - aucs[0]}

        users = np.unique(rows.users[part], return_inverse=True)[1]
        found = bootstrap(gain, users, draws=DRAWS, seed=1)
        print(
            f"{name:<18} {part.sum():>7,} rows  ROC AUC {found['oracle'].value:.4f} -> {found['boosted'].value:.4f}"
            f" ({found['gain'].lower:+.4f} to {found['gain'].upper:+.4f})"
            f"  log loss {log_loss(labels, oracle):.4f} -> {log_loss(labels, other):.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
