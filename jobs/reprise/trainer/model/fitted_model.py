"""The fit of a model: a forest is judged on rows it has never seen, then one is grown on all rows and published."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta

import numpy as np

from reprise.bundle import Evaluation, Histogram, Importance, KindVerdict
from reprise.bundle.scorer import Scorer
from reprise.evaluation.classification_metrics import Floats
from reprise.evaluation.cluster_bootstrap import Interval
from reprise.evaluation.time_split import TimeSplit
from reprise.features.request_kinds import ONE_KIND, KindColumns
from reprise.runtime.durations import format_duration, timed
from reprise.runtime.progress import progress
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.data.labelled_rows import too_few_labels
from reprise.trainer.evaluation.baselines import predict_baselines
from reprise.trainer.evaluation.held_out import (
    MODEL,
    ORACLE,
    EvaluatedSlice,
    Predictions,
    TimeSlice,
    evaluate,
    evaluate_over_time,
    evaluate_slices,
    score_intervals,
)
from reprise.trainer.evaluation.histograms import feature_histogram, score_histogram
from reprise.trainer.evaluation.verdicts import judge_verdicts
from reprise.trainer.exceptions import TrainingRefusedError
from reprise.trainer.model.beta_calibration import KindCalibration, fit_kind_calibration, recency_weights
from reprise.trainer.model.cross_fitting import cross_fitted_votes
from reprise.trainer.model.forest import (
    ForestParameters,
    Selection,
    SplitForest,
    choose_parameters,
    grow_split_forest,
)
from reprise.trainer.model.importance import importances
from reprise.trainer.model.learning_curve import CurvePoint, learning_curve
from reprise.trainer.model.onnx_graph import ExportedForest, export_forest, score_rows
from reprise.trainer.settings import TrainerSettings
from reprise.trainer.threshold import Thresholds, choose_threshold, choose_thresholds


@dataclass(frozen=True, slots=True)
class CalibratedForest(ExportedForest):
    """An exported forest with what it was made of, and thresholds."""

    forest: SplitForest
    calibration: KindCalibration
    thresholds: Thresholds  # Chosen on the rows that the calibration is fitted on


@dataclass(frozen=True, slots=True)
class JudgedModel:
    """A published model, the evaluated model of the same parameters, and the quality of its probabilities."""

    evaluated: CalibratedForest  # Grown on the training span and calibrated on the calibration span
    published: CalibratedForest  # Grown on all labelled rows after the burn-in
    scorer: Scorer  # Of the evaluated model, bounded if its horizon is a further one
    evaluation: Evaluation
    # The scores of all requests at events, and of repeat candidates if there are any, with 95% intervals over users
    intervals: Mapping[str, Mapping[str, Interval]]
    verdicts: Mapping[str, KindVerdict]  # By the published thresholds, on the evaluation rows; by kind
    # The probabilities of the evaluation rows at events, by the evaluated model
    predictions: Predictions


@dataclass(frozen=True, slots=True)
class FittedModel(JudgedModel):
    """The model of the default horizon, with all that is reported of it."""

    selection: Selection  # The forest's hyperparameters and the cross-validation behind them
    time_slices: list[TimeSlice]
    slices: Mapping[str, list[EvaluatedSlice]]  # By dimension
    importances: tuple[Importance, ...]  # The inputs, the most important first
    learning_curve: tuple[CurvePoint, ...]  # Empty unless asked for
    score_histogram: Histogram
    feature_histograms: dict[str, Histogram]  # Each input over the rows that the published model is grown on
    durations: dict[str, float]  # Seconds by step


def fit_model(
    dataset: Dataset,
    split: TimeSplit,
    input_names: tuple[str, ...],
    settings: TrainerSettings,
    columns: KindColumns = ONE_KIND,
) -> FittedModel:
    """Choose the parameters, judge a model with them on the evaluation span, and fit the one to publish.

    The model is judged on requests at events; other requests are reported next to them. Each kind has its threshold.

    Raises:
        TrainingRefusedError: A span has too few rows of one label, or no threshold has the wanted precision.
        GraphMismatchError: ONNX Runtime and scikit-learn disagree about an exported model.
    """
    check_labels(dataset, split, settings.default_horizon)
    durations: dict[str, float] = {}
    train = dataset.within(split.train)
    with timed(durations, "choose"):
        selection = choose_parameters(
            train, settings.cv_folds, columns, seed=settings.seed, jobs=settings.jobs
        )
    parameters = selection.parameters
    judged = fit_and_judge(dataset, split, parameters, input_names, settings, columns, durations)
    predictions = judged.predictions
    with timed(durations, "slices"):
        by_dimension = evaluate_slices(predictions)
    with timed(durations, "importance"):
        impurity = judged.evaluated.forest.impurity_importances()
        ranked = importances(
            impurity, judged.scorer, predictions.rows, seed=settings.seed, jobs=settings.jobs
        )
    curve: tuple[CurvePoint, ...] = ()
    if settings.learning_curve:
        with timed(durations, "learning curve"):
            curve = learning_curve(train, split.train, predictions.rows, parameters, columns, settings)
    refit = dataset.within(split.refit)
    served = refit.inputs[refit.are_at_events]
    return FittedModel(
        **{each.name: getattr(judged, each.name) for each in fields(judged)},
        selection=selection,
        time_slices=evaluate_over_time(predictions, split.evaluation),
        slices=by_dimension,
        importances=ranked,
        learning_curve=curve,
        score_histogram=score_histogram(predictions.by_scorer[MODEL]),
        feature_histograms={name: feature_histogram(served[:, at]) for at, name in enumerate(input_names)},
        durations=durations,
    )


def fit_and_judge(
    dataset: Dataset,
    split: TimeSplit,
    parameters: ForestParameters,
    input_names: tuple[str, ...],
    settings: TrainerSettings,
    columns: KindColumns,
    durations: dict[str, float],
    bound: Callable[[Scorer], Scorer] = lambda scorer: scorer,
) -> JudgedModel:
    """Judge a model of these parameters on the evaluation span, and fit the one to publish; raises as ``fit_model``.

    ``bound`` returns the scorer that answers, of the evaluated model's; ``durations`` gets the seconds of each step.
    """
    train, calibration, evaluation = (
        dataset.within(span) for span in (split.train, split.calibration, split.evaluation)
    )
    refit = dataset.within(split.refit)
    recent = split.refit_calibration.rows(refit.timestamps_us)
    with progress("Growing the forests", 3, "forests") as bar:
        with timed(durations, "grow"):
            evaluated = fit_forest(train, calibration, parameters, input_names, settings, columns)
            bar.advance()
        with timed(durations, "calibrate"):
            fewer = replace(parameters, trees=parameters.trees // 2)
            votes = cross_fitted_votes(
                refit,
                lambda rows: grow_split_forest(rows, columns, fewer, seed=settings.seed, jobs=settings.jobs),
                seed=settings.seed,
                jobs=settings.jobs,
            )
            bar.advance()
        with timed(durations, "refit"):
            published = fit_forest(
                refit, refit.subset(recent), parameters, input_names, settings, columns, votes=votes[recent]
            )
            bar.advance()
    with timed(durations, "evaluate"):
        kinds = columns.kinds(evaluation.inputs)
        baselines = _baseline_thresholds(train, calibration.at_events, settings)
        thresholds = {name: np.full(len(kinds), value) for name, value in baselines.items()}
        scorer = bound(evaluated.scorer)
        scores = score_rows(scorer, evaluation.inputs)
        everything = Predictions(
            evaluation,
            {MODEL: scores, **_baselines(train, evaluation, settings)},
            {MODEL: evaluated.thresholds.of(kinds), **thresholds},
        )
        predictions = everything.subset(evaluation.are_at_events)
        slices = {
            "overall": predictions,
            "repeat_candidates": predictions.subset(predictions.rows.repeat_candidates),
        }
        intervals = {name: score_intervals(part) for name, part in slices.items() if len(part.rows)}
    return JudgedModel(
        evaluated=evaluated,
        published=published,
        scorer=scorer,
        evaluation=evaluate(everything, kinds),
        intervals=intervals,
        verdicts=judge_verdicts(
            kinds, evaluation.labels, scores, published.thresholds.by_kind, evaluation.users
        ),
        predictions=predictions,
    )


def fit_forest(
    train: Dataset,
    calibration: Dataset,
    parameters: ForestParameters,
    input_names: tuple[str, ...],
    settings: TrainerSettings,
    columns: KindColumns = ONE_KIND,
    *,
    votes: Floats | None = None,
) -> CalibratedForest:
    """Grow, calibrate and export a forest.

    Args:
        train: The rows that it is grown on.
        calibration: The rows that calibration and threshold are fitted on; the calibration weighs newer rows more.
        parameters: Hyperparameters of the forest.
        input_names: Names of the inputs.
        settings: Seed, threads and threshold.
        columns: The inputs that tell the kinds of requests apart.
        votes: Votes for the calibration rows by forests that have not seen them; by default the grown forest's own.

    Raises:
        TrainingRefusedError: No threshold has the wanted precision.
        GraphMismatchError: ONNX Runtime and scikit-learn disagree about the exported model.
    """
    jobs = settings.jobs
    forest = grow_split_forest(train, columns, parameters, seed=settings.seed, jobs=jobs)
    if votes is None:
        votes = forest.score(calibration.inputs, jobs=jobs)
    weights = recency_weights(calibration.timestamps_us, settings.label_span)
    by_kind = fit_kind_calibration(votes, calibration.inputs, calibration.labels, columns, weights)
    probabilities = by_kind.apply(votes, calibration.inputs)
    rule = settings.threshold_rule if settings.threshold is None else settings.threshold
    kinds, at_events = columns.kinds(calibration.inputs), calibration.are_at_events
    thresholds = choose_thresholds(rule, kinds, at_events, calibration.labels, probabilities)
    if set(thresholds.by_kind) == {None}:
        raise TrainingRefusedError(
            f"no threshold satisfies {settings.threshold_rule} for any kind of question on {len(calibration):,}"
            f" held-out rows, of which {calibration.positives / len(calibration):.1%} were followed by a purchase",
            "a lower precision, or another --threshold-rule",
        )
    exported = export_forest(forest, by_kind, calibration.inputs, input_names, jobs=jobs)
    return CalibratedForest(exported.graph, exported.scorer, exported.parity, forest, by_kind, thresholds)


def _baseline_thresholds(train: Dataset, rows: Dataset, settings: TrainerSettings) -> dict[str, float]:
    found = {
        name: settings.threshold or choose_threshold(settings.threshold_rule, rows.labels, scores)
        for name, scores in _baselines(train, rows, settings).items()
    }
    return {name: np.inf if threshold is None else threshold for name, threshold in found.items()}


def check_labels(dataset: Dataset, split: TimeSplit, horizon: timedelta) -> None:
    """Raise ``TrainingRefusedError`` if a span has too few rows of one label."""
    spans = {
        "training": dataset.within(split.train).at_events,
        "calibration": dataset.within(split.calibration).at_events,
        "evaluation": dataset.within(split.evaluation).at_events,
    }
    within = format_duration(horizon)
    rows = sum(map(len, spans.values()))
    positives = sum(part.positives for part in spans.values())
    if rows and positives == 0:
        raise TrainingRefusedError(
            f"only one class: in none of {rows:,} rows did the user buy the product within {within}",
            "a longer --horizon, more history, or a check of whether the file's purchases have the event type of the"
            " plan (purchase by default: --event-type purchase=VALUE)",
        )
    if rows and positives == rows:
        raise TrainingRefusedError(
            f"only one class: in all of {rows:,} rows the user bought the product within {within}",
            "a shorter --horizon, or events of users who do not buy",
        )
    if (problem := too_few_labels(spans, horizon)) is not None:
        raise TrainingRefusedError(
            f"too few labels: {problem}", "more events, a longer history, or another --horizon"
        )


def _baselines(train: Dataset, rows: Dataset, settings: TrainerSettings) -> dict[str, Floats]:
    oracle = {} if rows.truth is None else {ORACLE: rows.truth}
    return {**predict_baselines(train, rows, settings.default_horizon), **oracle}
