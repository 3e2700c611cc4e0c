"""The fit of a model: a forest is judged on rows it has never seen, then one is grown on all rows and published."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from reprise.bundle import Histogram, Importance, KindVerdict
from reprise.bundle.scorer import Scorer
from reprise.evaluation.time_split import TimeSplit
from reprise.features.request_kinds import ONE_KIND, KindColumns
from reprise.runtime.durations import timed
from reprise.runtime.progress import progress
from reprise.trainer.data.dataset import Dataset, check_labels
from reprise.trainer.evaluation.held_out import (
    MODEL,
    EvaluatedSlice,
    TimeSlice,
    evaluate_over_time,
    evaluate_slices,
)
from reprise.trainer.evaluation.histograms import feature_histogram, score_histogram
from reprise.trainer.evaluation.verdicts import judge_verdicts
from reprise.trainer.model.backtests import Backtests, backtest
from reprise.trainer.model.calibrated_forest import CalibratedForest, fit_forest, fit_published
from reprise.trainer.model.forest import ForestParameters, Selection, choose_parameters
from reprise.trainer.model.importance import importances
from reprise.trainer.model.judgement import Judgement, judge
from reprise.trainer.model.learning_curve import CurvePoint, learning_curve
from reprise.trainer.settings import TrainerSettings


@dataclass(frozen=True, slots=True)
class JudgedModel(Judgement):
    """A published model, the evaluated model of the same parameters, and the quality of its probabilities."""

    evaluated: CalibratedForest  # Grown on the training span and calibrated on the calibration span
    published: CalibratedForest  # Grown on all labelled rows after the burn-in
    scorer: Scorer  # Of the evaluated model, bounded if its horizon is a further one
    verdicts: Mapping[str, KindVerdict]  # By the published thresholds, on the evaluation rows; by kind


@dataclass(frozen=True, slots=True)
class FittedModel(JudgedModel):
    """The model of the default horizon, with all that is reported of it."""

    selection: Selection  # The forest's hyperparameters and the cross-validation behind them
    time_slices: list[TimeSlice]
    slices: Mapping[str, list[EvaluatedSlice]]  # By dimension
    importances: tuple[Importance, ...]  # The inputs, the most important first
    learning_curve: tuple[CurvePoint, ...]  # Empty unless asked for
    backtests: Backtests  # None found unless asked for
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
    check_labels(dataset, split.train, split.calibration, split.evaluation, settings.default_horizon)
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
    earlier = Backtests()
    if settings.backtests:
        with timed(durations, "backtests"):
            earlier = backtest(dataset, split, parameters, input_names, settings, columns)
    refit = dataset.within(split.refit)
    served = refit.inputs[refit.are_at_events]
    return FittedModel(
        **_fields(judged),
        selection=selection,
        time_slices=evaluate_over_time(predictions, split.evaluation),
        slices=by_dimension,
        importances=ranked,
        learning_curve=curve,
        backtests=earlier,
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
    with progress("Growing the forests", 2, "models") as bar:
        with timed(durations, "grow"):
            evaluated = fit_forest(train, calibration, parameters, input_names, settings, columns)
        bar.advance()
        published = fit_published(
            dataset.within(split.refit),
            split.refit_calibration,
            parameters,
            input_names,
            settings,
            columns,
            durations,
        )
        bar.advance()
    with timed(durations, "evaluate"):
        scorer = bound(evaluated.scorer)
        judgement = judge(
            scorer,
            evaluated.thresholds,
            evaluation,
            train=train,
            calibration=calibration,
            columns=columns,
            settings=settings,
        )
    return JudgedModel(
        **_fields(judgement),
        evaluated=evaluated,
        published=published,
        scorer=scorer,
        verdicts=judge_verdicts(
            columns.kinds(evaluation.inputs),
            evaluation.labels,
            judgement.probabilities,
            published.thresholds.by_kind,
            evaluation.users,
        ),
    )


def _fields(judgement: Judgement) -> dict[str, Any]:
    return {each.name: getattr(judgement, each.name) for each in fields(judgement)}
