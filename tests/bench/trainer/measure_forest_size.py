"""Measure what a forest's size costs and brings: the table of docs/adr/0003-forest-size.md.

Run it on a history of datagen, 280,000 events as the demo has them:

    reprise datagen --out history.parquet --truth truth.parquet
    python tests/bench/trainer/measure_forest_size.py history.parquet truth.parquet
"""

import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from reprise.bundle.scorer import Scorer
from reprise.evaluation.time_split import TimeSplit, split_by_time
from reprise.event_files.importer import import_events
from reprise.features.plan import Plan
from reprise.features.request_kinds import KindColumns
from reprise.features.training_rows import build_training_rows
from reprise.trainer.data.dataset import Dataset, load_dataset
from reprise.trainer.evaluation.baselines import binned_rates
from reprise.trainer.model.beta_calibration import fit_kind_calibration, recency_weights
from reprise.trainer.model.forest import ForestParameters, grow_split_forest
from reprise.trainer.model.onnx_graph import INPUT, OUTPUT, build_graph, score_rows
from reprise.trainer.settings import TrainerSettings

HORIZON = timedelta(days=30)
JOBS = 2
UNBOUNDED = 1_000_000
GRID = (
    *(ForestParameters(trees=trees) for trees in (25, 50, 100, 200, 400)),
    *(ForestParameters(leaf_rows=rows) for rows in (160, 10)),
    *(ForestParameters(rows_per_tree=rows) for rows in (10_000, 50_000)),
    *(ForestParameters(input_share=share) for share in (0.1, 0.5)),
    ForestParameters(leaf_rows=10, max_leaves=UNBOUNDED, rows_per_tree=100_000),
)


def read(events: Path, truth: Path, plan: Plan) -> tuple[Dataset, TimeSplit]:
    with tempfile.TemporaryDirectory() as folder:
        canonical, rows = Path(folder) / "events.parquet", Path(folder) / "rows.parquet"
        report = import_events(events, canonical)
        build_training_rows(canonical, rows, plan, HORIZON, questions=True)
        settings = TrainerSettings.load(events=events, out="", truth=truth)
        table, _ = load_dataset([rows], canonical, plan.input_names, plan.purchase_type, settings)
    assert report.first_us is not None
    assert report.last_us is not None
    return table, split_by_time(report.first_us, report.last_us, HORIZON)


def single_row_microseconds(scorer: Scorer, rows: np.ndarray) -> tuple[float, float]:
    blocks = [np.ascontiguousarray(rows[at : at + 1]) for at in range(min(5_000, len(rows)))]
    for block in blocks[:500]:
        scorer.score(block)
    taken = []
    for block in blocks:
        start = time.perf_counter_ns()
        scorer.score(block)
        taken.append((time.perf_counter_ns() - start) / 1e3)
    return float(np.percentile(taken, 50)), float(np.percentile(taken, 99))


def main() -> None:
    plan_path = sys.argv[3] if len(sys.argv) > 3 else "feature_repo/plan/plan.json"
    plan = Plan.load(Path(plan_path))
    table, split = read(Path(sys.argv[1]), Path(sys.argv[2]), plan)
    train, calibration, evaluation = (
        table.subset(span.rows(table.timestamps_us))
        for span in (split.train, split.calibration, split.evaluation)
    )
    evaluation, columns = evaluation.at_events, KindColumns.of(plan)
    recency = binned_rates(train.recency_days, train.labels, evaluation.recency_days)
    print(
        f"{len(train):,} rows to train, {len(evaluation):,} to evaluate, ROC AUC of recency alone "
        f"{roc_auc_score(evaluation.labels, recency):.4f}, oracle "
        f"{roc_auc_score(evaluation.labels, evaluation.truth):.4f}\n"
    )
    print("| trees | rows a leaf | max leaves | rows a tree | inputs a split | ROC AUC | avg precision | fit s "
          "| nodes | depth | MB | p50 µs | p99 µs |")  # fmt: skip
    print("| --: " * 13 + "|")
    for parameters in GRID:
        start = time.perf_counter()
        forest = grow_split_forest(train, columns, parameters, seed=0, jobs=JOBS)
        seconds = time.perf_counter() - start
        votes = forest.score(calibration.inputs, jobs=JOBS)
        weights = recency_weights(calibration.timestamps_us, HORIZON)
        by_kind = fit_kind_calibration(votes, calibration.inputs, calibration.labels, columns, weights)
        graph = build_graph(forest, by_kind)
        scorer = Scorer(graph, INPUT, OUTPUT, plan.input_names)
        scores = score_rows(scorer, evaluation.inputs)
        p50, p99 = single_row_microseconds(scorer, evaluation.inputs)
        trees = [each.tree_ for part in forest.parts for each in part.estimators_]
        nodes = sum(tree.node_count for tree in trees)
        depth = max(tree.max_depth for tree in trees)
        leaves = "none" if parameters.max_leaves == UNBOUNDED else parameters.max_leaves
        print(
            f"| {parameters.trees} | {parameters.leaf_rows} | {leaves} | {parameters.rows_per_tree:,} "
            f"| {parameters.input_share:.0%} | {roc_auc_score(evaluation.labels, scores):.4f} "
            f"| {average_precision_score(evaluation.labels, scores):.4f} | {seconds:.1f} | {nodes:,} | {depth} "
            f"| {len(graph) / 1e6:.1f} | {p50:.0f} | {p99:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
