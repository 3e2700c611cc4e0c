"""The fit of a model: a forest is judged on rows it has never seen, then one is grown on all rows and published."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from reprise.bundle import Evaluation, Histogram, Importance, Parity
from reprise.bundle.scorer import Scorer
from reprise.evaluation.classification_metrics import Floats
from reprise.runtime.durations import format_duration, timed
from reprise.runtime.progress import progress
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.data.time_split import Span, TimeSplit, forward_folds
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
from reprise.trainer.evaluation.recency_baseline import fit_recency
from reprise.trainer.exceptions import TrainingRefusedError
from reprise.trainer.model.beta_calibration import BetaCalibration, fit_beta_calibration
from reprise.trainer.model.forest import (
    ForestParameters,
    Selection,
    choose_parameters,
    grow_forest,
    score_forest,
)
from reprise.trainer.model.importance import importances
from reprise.trainer.model.onnx_graph import INPUT, OUTPUT, TOLERANCE, build_graph, check_parity, score_rows
from reprise.trainer.settings import TrainerSettings
from reprise.trainer.threshold import choose_threshold

CALIBRATION_TREES = 50
"""Trees of the forest that is only grown to vote for later rows."""

MIN_TRAIN_LABELS = 30
MIN_HELD_OUT_LABELS = 10


@dataclass(frozen=True, slots=True)
class CalibratedForest:
    """A forest, the calibration of its votes, and the graph of both."""

    forest: RandomForestClassifier
    calibration: BetaCalibration
    graph: bytes  # The ONNX model, which ends with ``calibration``
    scorer: Scorer  # Runs the graph
    threshold: float  # Chosen on the rows that the calibration is fitted on
    parity: Parity  # ONNX Runtime against scikit-learn


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A published model, the evaluated model of the same parameters, and its quality."""

    evaluated: CalibratedForest  # Grown on the training span and calibrated on the calibration span
    published: CalibratedForest  # Grown on all labelled rows after the burn-in
    selection: Selection  # The forest's hyperparameters and the cross-validation behind them
    evaluation: Evaluation
    # The probabilities of the evaluation rows by the evaluated model, as all that follows
    predictions: Predictions
    time_slices: list[TimeSlice]
    importances: tuple[Importance, ...]  # The inputs, the most important first
    score_histogram: Histogram
    feature_histograms: dict[str, Histogram]  # Each input over the rows that the published model is grown on
    durations: dict[str, float]  # Seconds by step


def fit_model(
    dataset: Dataset, split: TimeSplit, input_names: tuple[str, ...], settings: TrainerSettings
) -> FittedModel:
    """Choose the parameters, judge a model with them on the evaluation span, and fit the one to publish.

    Raises:
        TrainingRefusedError: A span has too few rows of one label, or no threshold has the wanted precision.
        GraphMismatchError: ONNX Runtime and scikit-learn disagree about an exported model.
    """
    train, calibration, evaluation = (
        dataset.within(span) for span in (split.train, split.calibration, split.evaluation)
    )
    _check_labels({"training": train, "calibration": calibration, "evaluation": evaluation}, settings.horizon)
    durations: dict[str, float] = {}
    with timed(durations, "choose"):
        folds = forward_folds(split.train, settings.horizon, settings.cv_folds)
        selection = choose_parameters(train, folds, seed=settings.seed, jobs=settings.jobs)
    parameters = selection.parameters
    refit, out_of_time = dataset.within(split.refit), dataset.within(split.out_of_time)
    with progress("Growing the forests", 3, "forests") as bar:
        with timed(durations, "grow"):
            evaluated = fit_forest(train, calibration, parameters, input_names, settings)
            bar.advance()
        with timed(durations, "calibrate"):
            votes = _out_of_time_votes(dataset, split, evaluated.forest, parameters, settings)
            bar.advance()
        with timed(durations, "refit"):
            published = fit_forest(refit, out_of_time, parameters, input_names, settings, votes=votes)
            bar.advance()
    with timed(durations, "evaluate"):
        thresholds = {MODEL: evaluated.threshold, **_baseline_thresholds(train, calibration, settings)}
        scores = score_rows(evaluated.scorer, evaluation.inputs)
        predictions = Predictions(evaluation, {MODEL: scores, **_baselines(train, evaluation)})
    with timed(durations, "importance"):
        impurity = np.asarray(evaluated.forest.feature_importances_)
        ranked = importances(impurity, evaluated.scorer, evaluation, seed=settings.seed, jobs=settings.jobs)
    return FittedModel(
        evaluated=evaluated,
        published=published,
        selection=selection,
        evaluation=evaluate(predictions, thresholds),
        predictions=predictions,
        time_slices=evaluate_over_time(predictions, split.evaluation, thresholds),
        importances=ranked,
        score_histogram=score_histogram(scores),
        feature_histograms={
            name: feature_histogram(refit.inputs[:, at]) for at, name in enumerate(input_names)
        },
        durations=durations,
    )


def fit_forest(
    train: Dataset,
    calibration: Dataset,
    parameters: ForestParameters,
    input_names: tuple[str, ...],
    settings: TrainerSettings,
    *,
    votes: Floats | None = None,
) -> CalibratedForest:
    """Grow, calibrate and export a forest.

    Args:
        train: The rows that it is grown on.
        calibration: The rows that calibration and threshold are fitted on.
        parameters: Hyperparameters of the forest.
        input_names: Names of the inputs.
        settings: Seed, threads and threshold.
        votes: Votes for the calibration rows by forests that have not seen them; by default the grown forest's own.

    Raises:
        TrainingRefusedError: No threshold has the wanted precision.
        GraphMismatchError: ONNX Runtime and scikit-learn disagree about the exported model.
    """
    jobs = settings.jobs
    forest = grow_forest(train.inputs, train.labels, parameters, seed=settings.seed, jobs=jobs)
    if votes is None:
        votes = score_forest(forest, calibration.inputs, jobs=jobs)
    beta = fit_beta_calibration(votes, calibration.labels)
    threshold = _threshold(settings, calibration, beta.apply(votes))
    if threshold is None:
        raise TrainingRefusedError(
            f"no threshold satisfies {settings.threshold_rule} on {len(calibration):,} out-of-time rows, of which"
            f" {calibration.positives / len(calibration):.1%} were followed by a purchase",
            "a lower precision, or another --threshold-rule",
        )
    graph = build_graph(forest, beta)
    scorer = Scorer(graph, INPUT, OUTPUT, input_names)
    difference = check_parity(scorer, forest, beta, calibration.inputs, jobs=jobs)
    parity = Parity(rows=len(calibration), max_abs_diff=difference, tolerance=TOLERANCE)
    return CalibratedForest(forest, beta, graph, scorer, threshold, parity)


def _out_of_time_votes(
    dataset: Dataset,
    split: TimeSplit,
    evaluated: RandomForestClassifier,
    parameters: ForestParameters,
    settings: TrainerSettings,
) -> Floats:
    """Return the votes for the rows of ``split.out_of_time`` by forests that end at least one horizon earlier.

    The evaluated forest votes until the evaluation span, and one that has seen the calibration rows votes for it.
    """
    rows, jobs = dataset.within(split.before_evaluation), settings.jobs
    fewer = replace(parameters, trees=CALIBRATION_TREES)
    newer = grow_forest(rows.inputs, rows.labels, fewer, seed=settings.seed, jobs=jobs)
    earlier = dataset.within(Span(split.calibration.start_us, split.evaluation.start_us))
    later = dataset.within(split.evaluation)
    return np.concatenate(
        [score_forest(evaluated, earlier.inputs, jobs=jobs), score_forest(newer, later.inputs, jobs=jobs)]
    )


def _threshold(settings: TrainerSettings, rows: Dataset, probabilities: Floats) -> float | None:
    if settings.threshold is not None:
        return settings.threshold
    return choose_threshold(settings.threshold_rule, rows.labels, probabilities)


def _baseline_thresholds(train: Dataset, rows: Dataset, settings: TrainerSettings) -> dict[str, float]:
    thresholds = {
        name: _threshold(settings, rows, scores) for name, scores in _baselines(train, rows).items()
    }
    return {name: 1.0 if found is None else found for name, found in thresholds.items()}


def _check_labels(spans: Mapping[str, Dataset], horizon: timedelta) -> None:
    within = format_duration(horizon)
    rows = sum(map(len, spans.values()))
    positives = sum(part.positives for part in spans.values())
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
    for name, part in spans.items():
        least = MIN_TRAIN_LABELS if name == "training" else MIN_HELD_OUT_LABELS
        if min(part.positives, len(part) - part.positives) < least:
            raise TrainingRefusedError(
                f"too few labels: the {name} span has {len(part):,} rows, of which {part.positives:,} were followed by"
                f" a purchase within {within}; at least {least} with and {least} without are needed",
                "more events, a longer history, or another --horizon",
            )


def _baselines(train: Dataset, rows: Dataset) -> dict[str, Floats]:
    oracle = {} if rows.truth is None else {ORACLE: rows.truth}
    return {
        PREVALENCE: np.full(len(rows), float(train.labels.mean())),
        RECENCY: fit_recency(train.recency_days, train.labels).predict(rows.recency_days),
        **oracle,
    }
