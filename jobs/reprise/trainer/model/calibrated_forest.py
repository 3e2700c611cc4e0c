"""A forest of a model: grown, calibrated, exported, with its thresholds."""

from dataclasses import dataclass, replace

from reprise.evaluation.classification_metrics import Floats
from reprise.evaluation.time_split import Span
from reprise.features.request_kinds import ONE_KIND, KindColumns
from reprise.runtime.durations import timed
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.exceptions import TrainingRefusedError
from reprise.trainer.model.beta_calibration import KindCalibration, fit_kind_calibration, recency_weights
from reprise.trainer.model.cross_fitting import cross_fitted_votes
from reprise.trainer.model.forest import ForestParameters, SplitForest, grow_split_forest
from reprise.trainer.model.onnx_graph import ExportedForest, export_forest
from reprise.trainer.settings import TrainerSettings
from reprise.trainer.threshold import Thresholds, choose_thresholds


@dataclass(frozen=True, slots=True)
class CalibratedForest(ExportedForest):
    """An exported forest with what it was made of, and thresholds."""

    forest: SplitForest
    calibration: KindCalibration
    thresholds: Thresholds  # Chosen on the rows that the calibration is fitted on


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
            f"no threshold satisfies {settings.threshold_rule} for any kind of request on {len(calibration):,}"
            f" held-out rows, of which {calibration.positives / len(calibration):.1%} were followed by a purchase",
            "a lower precision, or another --threshold-rule",
        )
    exported = export_forest(forest, by_kind, calibration.inputs, input_names, jobs=jobs)
    return CalibratedForest(exported.graph, exported.scorer, exported.parity, forest, by_kind, thresholds)


def fit_published(
    refit: Dataset,
    calibration: Span,
    parameters: ForestParameters,
    input_names: tuple[str, ...],
    settings: TrainerSettings,
    columns: KindColumns,
    durations: dict[str, float],
) -> CalibratedForest:
    """Fit a model to publish: grown on all of ``refit``, calibrated on its rows in the span ``calibration``.

    These get the votes of forests that have not seen their users. ``durations`` gets the seconds of each step.

    Raises:
        TrainingRefusedError: Half of the users have rows of one label only, or no threshold has the wanted precision.
        GraphMismatchError: ONNX Runtime and scikit-learn disagree about the exported model.
    """
    recent = calibration.rows(refit.timestamps_us)
    fewer = replace(parameters, trees=parameters.trees // 2)
    with timed(durations, "calibrate"):
        votes = cross_fitted_votes(
            refit,
            lambda rows: grow_split_forest(rows, columns, fewer, seed=settings.seed, jobs=settings.jobs),
            seed=settings.seed,
            jobs=settings.jobs,
        )
    with timed(durations, "refit"):
        return fit_forest(
            refit, refit.subset(recent), parameters, input_names, settings, columns, votes=votes[recent]
        )
