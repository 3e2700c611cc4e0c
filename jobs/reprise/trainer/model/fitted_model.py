"""The fit of a model: from labelled rows to a graph that is evaluated on rows it has never seen."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import precision_recall_curve

from reprise.bundle import Evaluation, Histogram, Importance, Parity
from reprise.bundle.scorer import Scorer
from reprise.evaluation.classification_metrics import Floats, Labels
from reprise.runtime.durations import format_duration, timed
from reprise.runtime.progress import progress
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.data.time_split import TimeSplit, forward_folds
from reprise.trainer.evaluation.held_out import (
    MODEL,
    ORACLE,
    PREVALENCE,
    RECENCY,
    Predictions,
    TimeSlice,
    evaluate,
    evaluate_over_time,
)
from reprise.trainer.evaluation.histograms import feature_histogram, score_histogram
from reprise.trainer.evaluation.importance import importances
from reprise.trainer.evaluation.recency_baseline import fit_recency
from reprise.trainer.exceptions import TrainingRefusedError
from reprise.trainer.model.beta_calibration import BetaCalibration, fit_beta_calibration
from reprise.trainer.model.forest import (
    CANDIDATES,
    Selection,
    choose_parameters,
    grow_forest,
    score_forest,
    usable_folds,
)
from reprise.trainer.model.onnx_graph import INPUT, OUTPUT, TOLERANCE, build_graph, check_parity, score_rows
from reprise.trainer.settings import TrainerSettings

MIN_TRAIN_LABELS = 30
MIN_HELD_OUT_LABELS = 10


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A model, its origin and its quality.

    Attributes:
        graph: The ONNX model, which ends with ``calibration``.
        selection: The forest's hyperparameters and the cross-validation behind them.
        nodes: Nodes of all trees.
        predictions: The probabilities of the evaluation rows.
        importances: The inputs, the most important first.
        feature_histograms: Each input over the training rows.
        durations: Seconds by step.
    """

    graph: bytes
    calibration: BetaCalibration
    selection: Selection
    nodes: int
    depth: int
    threshold: float
    evaluation: Evaluation
    predictions: Predictions
    time_slices: list[TimeSlice]
    importances: tuple[Importance, ...]
    parity: Parity
    score_histogram: Histogram
    feature_histograms: dict[str, Histogram]
    durations: dict[str, float]


def fit_model(
    dataset: Dataset, split: TimeSplit, input_names: tuple[str, ...], settings: TrainerSettings
) -> FittedModel:
    """Choose, grow, calibrate, export and evaluate a model.

    Raises:
        TrainingRefusedError: A span has too few rows of one label.
        GraphMismatchError: ONNX Runtime and scikit-learn disagree about the exported model.
    """
    train, calibration, evaluation = (
        dataset.subset(span.rows(dataset.timestamps_us))
        for span in (split.train, split.calibration, split.evaluation)
    )
    _check_labels(train, calibration, evaluation, settings.horizon)
    durations: dict[str, float] = {}
    with timed(durations, "choose"):
        selection = _choose(train, split, settings)
    with timed(durations, "grow"), progress("Growing the forest", 1, "forests") as bar:
        forest = grow_forest(
            train.inputs, train.labels, selection.parameters, seed=settings.seed, jobs=settings.jobs
        )
        bar.advance()
    with timed(durations, "calibrate"):
        votes = score_forest(forest, calibration.inputs, jobs=settings.jobs)
        beta = fit_beta_calibration(votes, calibration.labels)
    with timed(durations, "export"):
        graph = build_graph(forest, beta)
        scorer = Scorer(graph, INPUT, OUTPUT, input_names)
        difference = check_parity(scorer, forest, beta, evaluation.inputs, jobs=settings.jobs)
    with timed(durations, "evaluate"):
        thresholds = _thresholds(_predict(scorer, train, calibration), settings.threshold)
        predictions = _predict(scorer, train, evaluation)
    with timed(durations, "importance"):
        ranked = _rank_inputs(forest, scorer, evaluation, settings)
    trees = [estimator.tree_ for estimator in forest.estimators_]
    return FittedModel(
        graph=graph,
        calibration=beta,
        selection=selection,
        nodes=sum(int(tree.node_count) for tree in trees),
        depth=max(int(tree.max_depth) for tree in trees),
        threshold=thresholds[MODEL],
        evaluation=evaluate(predictions, thresholds),
        predictions=predictions,
        time_slices=evaluate_over_time(predictions, split.evaluation, thresholds),
        importances=ranked,
        parity=Parity(rows=len(evaluation), max_abs_diff=difference, tolerance=TOLERANCE),
        score_histogram=score_histogram(predictions.by_scorer[MODEL]),
        feature_histograms={
            name: feature_histogram(train.inputs[:, at]) for at, name in enumerate(input_names)
        },
        durations=durations,
    )


def _check_labels(train: Dataset, calibration: Dataset, evaluation: Dataset, horizon: timedelta) -> None:
    """Refuse to train unless each span has enough rows of either label."""
    within = format_duration(horizon)
    rows = len(train) + len(calibration) + len(evaluation)
    positives = train.positives + calibration.positives + evaluation.positives
    if rows and positives == 0:
        raise TrainingRefusedError(
            f"only one class: in none of {rows:,} rows did the user buy the product within {within}",
            "a longer --horizon, more history, or a check of whether the file's purchases are called purchase "
            "(--event-type purchase=VALUE)",
        )
    if rows and positives == rows:
        raise TrainingRefusedError(
            f"only one class: in all of {rows:,} rows the user bought the product within {within}",
            "a shorter --horizon, or events of users who do not buy",
        )
    for name, part, least in (
        ("training", train, MIN_TRAIN_LABELS),
        ("calibration", calibration, MIN_HELD_OUT_LABELS),
        ("evaluation", evaluation, MIN_HELD_OUT_LABELS),
    ):
        if min(part.positives, len(part) - part.positives) < least:
            raise TrainingRefusedError(
                f"too few labels: the {name} span has {len(part):,} rows, of which {part.positives:,} were followed by"
                f" a purchase within {within}; at least {least} with and {least} without are needed",
                "more events, a longer history, or another --horizon",
            )


def _choose(train: Dataset, split: TimeSplit, settings: TrainerSettings) -> Selection:
    folds = usable_folds(train, forward_folds(split.train, settings.horizon, settings.cv_folds))
    with progress("Choosing the leaf size", len(folds) * len(CANDIDATES), "forests") as bar:
        return choose_parameters(train, folds, seed=settings.seed, jobs=settings.jobs, advance=bar.advance)


def _predict(scorer: Scorer, train: Dataset, rows: Dataset) -> Predictions:
    by_scorer = {
        MODEL: score_rows(scorer, rows.inputs),
        PREVALENCE: np.full(len(rows), float(train.labels.mean())),
        RECENCY: fit_recency(train.recency_days, train.labels).predict(rows.recency_days),
    }
    if rows.truth is not None:
        by_scorer[ORACLE] = rows.truth
    return Predictions(rows, by_scorer)


def _rank_inputs(
    forest: RandomForestClassifier, scorer: Scorer, evaluation: Dataset, settings: TrainerSettings
) -> tuple[Importance, ...]:
    with progress("Shuffling inputs", len(scorer.input_names), "inputs") as bar:
        return importances(
            np.asarray(forest.feature_importances_),
            lambda rows: score_rows(scorer, rows),
            evaluation,
            scorer.input_names,
            seed=settings.seed,
            jobs=settings.jobs,
            advance=bar.advance,
        )


def _thresholds(calibration: Predictions, fixed: float | None) -> dict[str, float]:
    """Return the threshold of each scorer: the fixed one, or its own best F1 on the calibration rows."""
    labels, by_scorer = calibration.rows.labels, calibration.by_scorer
    return {
        name: best_f1_threshold(labels, values) if fixed is None else fixed
        for name, values in by_scorer.items()
    }


def best_f1_threshold(labels: Labels, probabilities: Floats) -> float:
    """Return the threshold with the largest F1, the harmonic mean of precision and recall.

    It lies midway to the next lower score, so that float rounding cannot flip a calibration row.
    """
    precision, recall, thresholds = precision_recall_curve(labels, probabilities)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    best = float(thresholds[int(np.argmax(f1[:-1]))])
    lower = probabilities[probabilities < best]
    return (best + float(lower.max())) / 2 if len(lower) else best
