"""From labelled rows to a model that is judged on rows it has never seen."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from reprise.bundle import Evaluation, Histogram, Importance, Parity
from reprise.runtime.durations import format_duration
from reprise.runtime.progress import progress
from reprise.trainer.data.dataset import TrainingTable
from reprise.trainer.data.time_split import TimeSplit, forward_folds
from reprise.trainer.evaluation.baselines import fit_prevalence, fit_recency
from reprise.trainer.evaluation.held_out import (
    MODEL,
    ORACLE,
    PREVALENCE,
    RECENCY,
    Answers,
    TimeSlice,
    choose_thresholds,
    evaluate,
    evaluate_over_time,
)
from reprise.trainer.evaluation.histograms import feature_histogram, score_histogram
from reprise.trainer.evaluation.importance import importances
from reprise.trainer.exceptions import TrainingRefusedError
from reprise.trainer.model.beta_calibration import BetaCalibration, fit_beta_calibration
from reprise.trainer.model.forest import CANDIDATES, Selection, choose_parameters, grow_forest, usable_folds
from reprise.trainer.model.onnx_graph import build_graph
from reprise.trainer.model.onnx_parity import TOLERANCE, GraphScorer, check_equal, score_forest
from reprise.trainer.stopwatch import timed

MIN_TRAIN_LABELS = 30
MIN_HELD_OUT_LABELS = 10


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What decides about the fit besides the rows."""

    input_names: tuple[str, ...]
    horizon: timedelta
    seed: int
    jobs: int
    cv_folds: int
    threshold: float | None


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A model, how it came about and how good it is.

    Attributes:
        graph: The ONNX model, classifier and calibration.
        calibration: The calibration that the graph ends with.
        selection: The forest's parameters and the cross-validation behind them.
        nodes: Nodes of all trees.
        depth: Depth of the deepest tree.
        threshold: Probability from which a purchase is predicted.
        evaluation: The report on the evaluation rows.
        answers: The probabilities behind the report.
        time_slices: The report over time.
        importances: The inputs, the most important first.
        parity: How closely ONNX Runtime repeats scikit-learn.
        score_histogram: Of the probabilities of the evaluation rows.
        feature_histograms: Of each input over the training rows.
        durations: Seconds by step.
    """

    graph: bytes
    calibration: BetaCalibration
    selection: Selection
    nodes: int
    depth: int
    threshold: float
    evaluation: Evaluation
    answers: Answers
    time_slices: list[TimeSlice]
    importances: tuple[Importance, ...]
    parity: Parity
    score_histogram: Histogram
    feature_histograms: dict[str, Histogram]
    durations: dict[str, float]


def fit_model(table: TrainingTable, split: TimeSplit, options: FitOptions) -> FittedModel:
    """Choose, grow, calibrate, export and judge a model.

    Raises:
        TrainingRefusedError: A span has too few rows of one label.
        GraphMismatchError: The exported model answers differently from scikit-learn.
    """
    train, calibration, evaluation = (
        table.part(span.rows(table.timestamps_us))
        for span in (split.train, split.calibration, split.evaluation)
    )
    check_learnable(train, calibration, evaluation, options.horizon)
    durations: dict[str, float] = {}
    learnt = _learn(train, calibration, split, options, durations)
    with timed(durations, "export"):
        graph = build_graph(learnt.forest, learnt.calibration)
        scorer = GraphScorer(graph)
        difference = check_equal(
            scorer, learnt.forest, learnt.calibration, evaluation.inputs, jobs=options.jobs
        )
    with timed(durations, "evaluate"):
        thresholds = choose_thresholds(_answer(scorer, train, calibration), options.threshold)
        answers = _answer(scorer, train, evaluation)
    with timed(durations, "importance"):
        important = _importances(learnt.forest, scorer, evaluation, options)
    trees = [estimator.tree_ for estimator in learnt.forest.estimators_]
    return FittedModel(
        graph=graph,
        calibration=learnt.calibration,
        selection=learnt.selection,
        nodes=sum(int(tree.node_count) for tree in trees),
        depth=max(int(tree.max_depth) for tree in trees),
        threshold=thresholds[MODEL],
        evaluation=evaluate(answers, thresholds),
        answers=answers,
        time_slices=evaluate_over_time(answers, split.evaluation, thresholds),
        importances=important,
        parity=Parity(rows=len(evaluation), max_abs_diff=difference, tolerance=TOLERANCE),
        score_histogram=score_histogram(answers.by[MODEL]),
        feature_histograms=_feature_histograms(train, options.input_names),
        durations=durations,
    )


@dataclass(frozen=True, slots=True)
class _Learnt:
    selection: Selection
    forest: RandomForestClassifier
    calibration: BetaCalibration


def _learn(
    train: TrainingTable,
    calibration: TrainingTable,
    split: TimeSplit,
    options: FitOptions,
    durations: dict[str, float],
) -> _Learnt:
    with timed(durations, "choose"):
        selection = _choose(train, split, options)
    with timed(durations, "grow"), progress("Growing the forest", 1, "forests") as bar:
        forest = grow_forest(
            train.inputs, train.labels, selection.parameters, seed=options.seed, jobs=options.jobs
        )
        bar.advance()
    with timed(durations, "calibrate"):
        votes = score_forest(forest, calibration.inputs, jobs=options.jobs)
        return _Learnt(selection, forest, fit_beta_calibration(votes, calibration.labels))


def _feature_histograms(train: TrainingTable, names: tuple[str, ...]) -> dict[str, Histogram]:
    return {name: feature_histogram(train.inputs[:, at]) for at, name in enumerate(names)}


def check_learnable(
    train: TrainingTable, calibration: TrainingTable, evaluation: TrainingTable, horizon: timedelta
) -> None:
    """Check that every span has enough rows of either label.

    Raises:
        TrainingRefusedError: One has not; says which, how many there are, and what would help.
    """
    within = format_duration(horizon)
    rows = len(train) + len(calibration) + len(evaluation)
    positives = train.positives + calibration.positives + evaluation.positives
    if rows and positives == 0:
        raise TrainingRefusedError(
            f"only one class: in none of {rows:,} rows did the user buy the product within {within}",
            "a longer --horizon, more history, or a look at whether the file's purchases are called purchase "
            "(--event-type purchase=VALUE)",
        )
    if rows and positives == rows:
        raise TrainingRefusedError(
            f"only one class: in all of {rows:,} rows the user bought the product within {within}",
            "a shorter --horizon, or events of users who do not buy",
        )
    spans = (("training", train, MIN_TRAIN_LABELS), ("calibration", calibration, MIN_HELD_OUT_LABELS))
    for name, part, least in (*spans, ("evaluation", evaluation, MIN_HELD_OUT_LABELS)):
        found = part.positives
        if min(found, len(part) - found) < least:
            raise TrainingRefusedError(
                f"too little to learn from: the {name} span has {len(part):,} rows, of which {found:,} were followed "
                f"by a purchase within {within}; at least {least} with and {least} without are needed",
                "more events, a longer history, or another --horizon",
            )


def _choose(train: TrainingTable, split: TimeSplit, options: FitOptions) -> Selection:
    folds = usable_folds(train, forward_folds(split.train, options.horizon, options.cv_folds))
    forests = len(folds) * len(CANDIDATES)
    with progress("Choosing the forest's grain", forests, "forests") as bar:
        return choose_parameters(train, folds, seed=options.seed, jobs=options.jobs, advance=bar.advance)


def _answer(scorer: GraphScorer, train: TrainingTable, rows: TrainingTable) -> Answers:
    by = {
        MODEL: scorer.score(rows.inputs),
        PREVALENCE: fit_prevalence(train.labels).predict(rows.recency_days),
        RECENCY: fit_recency(train.recency_days, train.labels).predict(rows.recency_days),
    }
    if rows.truth is not None:
        by[ORACLE] = np.asarray(rows.truth)
    return Answers(rows, by)


def _importances(
    forest: RandomForestClassifier, scorer: GraphScorer, evaluation: TrainingTable, options: FitOptions
) -> tuple[Importance, ...]:
    with progress("Shuffling inputs", len(options.input_names), "inputs") as bar:
        return importances(
            forest,
            scorer,
            evaluation,
            options.input_names,
            seed=options.seed,
            jobs=options.jobs,
            advance=bar.advance,
        )
