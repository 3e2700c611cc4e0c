"""The fit of the users' model: judged on held-out time, then grown on all rows, as the model of pairs is."""

from dataclasses import asdict, dataclass

import numpy as np

from reprise.bundle import ReliabilityBin, UserModel, UserScores, sha256_hex
from reprise.evaluation.classification_metrics import Floats, RankedPredictions
from reprise.evaluation.cluster_bootstrap import bootstrap
from reprise.evaluation.time_split import TimeSplit
from reprise.features.accumulators import MICROSECONDS_PER_DAY
from reprise.features.plan import Plan
from reprise.features.request_kinds import ONE_KIND
from reprise.features.user_rows import UserRows
from reprise.runtime.durations import microseconds
from reprise.runtime.progress import progress
from reprise.trainer.data.history import History
from reprise.trainer.data.labelled_rows import LabelledRows, too_few_labels
from reprise.trainer.evaluation.baselines import PREVALENCE, fit_tree
from reprise.trainer.evaluation.held_out import MODEL
from reprise.trainer.exceptions import TrainingRefusedError
from reprise.trainer.model.beta_calibration import BetaCalibration, fit_kind_calibration, recency_weights
from reprise.trainer.model.cross_fitting import cross_fitted_votes
from reprise.trainer.model.forest import DEFAULT, SplitForest, grow_forest
from reprise.trainer.model.onnx_graph import ExportedForest, export_forest, score_rows
from reprise.trainer.settings import TrainerSettings

RECENCY_FREQUENCY = "recency_frequency"

_DRAWS = 200
_MAX_ROWS = 100_000
_MAX_USERS = 50_000


@dataclass(frozen=True, slots=True)
class UserDataset(LabelledRows):
    """Rows of users at random instants, labelled by whether the user bought anything, in time order."""

    recency_days: Floats  # Days since the last purchase
    purchases: Floats  # Number of purchases


@dataclass(frozen=True, slots=True)
class FittedUserModel:
    """The description of a users' model, and its graphs."""

    description: UserModel
    published: bytes
    evaluated: bytes


def train_user_model(history: History, plan: Plan, settings: TrainerSettings) -> FittedUserModel:
    """Train a users' model on the events of a history.

    Raises:
        TrainingRefusedError: A span has too few rows of one label.
        GraphMismatchError: ONNX Runtime and scikit-learn disagree about an exported graph.
    """
    split, names = history.split, tuple(each.name for each in plan.user.inputs)
    with (
        progress("Computing rows of users", 1, "steps") as bar,
        UserRows(
            plan,
            history.events,
            refund_us=microseconds(settings.refund_window),
            max_users=_MAX_USERS,
            memory_limit=settings.memory_limit,
        ) as rows,
    ):
        dataset = _load_dataset(rows, names, split, microseconds(settings.default_horizon))
        users = rows.users
        bar.advance()
    return fit_user_model(dataset, split, names, users, settings)


def _load_dataset(rows: UserRows, names: tuple[str, ...], split: TimeSplit, horizon_us: int) -> UserDataset:
    """Return labelled rows of random instants whose labels are known."""
    sampled = rows.sampled(split.train.start_us, split.evaluation.end_us, horizon_us, _MAX_ROWS)
    past, inputs = rows.past(sampled), np.empty((len(sampled), len(names)), np.float32)
    filled = 0
    for batch in rows.inputs(sampled):
        inputs[filled : filled + len(batch)] = batch
        filled += len(batch)
    timestamps = past["ts"].to_numpy()
    wait = past["next_us"].cast("float64").to_numpy() - timestamps
    return UserDataset(
        inputs=inputs,
        labels=wait <= horizon_us,  # False for NaN: no purchase followed
        timestamps_us=timestamps,
        users=past["user_id"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64),
        recency_days=(timestamps - past["last_us"].to_numpy()) / MICROSECONDS_PER_DAY,
        purchases=past["purchases"].to_numpy().astype(np.float64),
    )


def fit_user_model(
    dataset: UserDataset, split: TimeSplit, names: tuple[str, ...], users: int, settings: TrainerSettings
) -> FittedUserModel:
    """Judge a model on the evaluation span, and fit the one to publish; raises as ``train_user_model``."""
    train, calibration, evaluation = (
        dataset.within(span) for span in (split.train, split.calibration, split.evaluation)
    )
    spans = {"training": train, "calibration": calibration, "evaluation": evaluation}
    if (problem := too_few_labels(spans, settings.default_horizon, "rows of users")) is not None:
        raise TrainingRefusedError(problem, "events of more users, a longer history, or another --horizon")
    refit = dataset.within(split.refit)
    recent = split.refit_calibration.rows(refit.timestamps_us)
    with progress("Growing the users' forests", 3, "forests") as bar:
        evaluated, _ = _fit(train, calibration, names, settings)
        bar.advance()
        votes = cross_fitted_votes(
            refit, lambda rows: _grow(rows, settings), seed=settings.seed, jobs=settings.jobs
        )
        bar.advance()
        published, calibrated = _fit(refit, refit.subset(recent), names, settings, votes[recent])
        bar.advance()
    probabilities = {
        MODEL: score_rows(evaluated.scorer, evaluation.inputs),
        RECENCY_FREQUENCY: _recency_frequency(train, evaluation),
        PREVALENCE: np.full(len(evaluation), float(train.labels.mean())),
    }
    ranked = {name: RankedPredictions.of(evaluation.labels, each) for name, each in probabilities.items()}

    def statistics(weights: Floats | None) -> dict[str, float]:
        metrics = ranked[MODEL].metrics(weights)
        return {name: getattr(metrics, name) for name in ("roc_auc", "brier", "log_loss")}

    clusters = np.unique(evaluation.users, return_inverse=True)[1]
    intervals = bootstrap(statistics, clusters, draws=_DRAWS, seed=0)
    description = UserModel(
        sha256=sha256_hex(published.graph),
        evaluated_sha256=sha256_hex(evaluated.graph),
        inputs=names,
        users=users,
        train=refit.window(split.refit),
        calibration=asdict(calibrated),
        rows=len(evaluation),
        positives=evaluation.positives,
        scores={
            name: UserScores(**{key: getattr(each.metrics(), key) for key in UserScores.model_fields})
            for name, each in ranked.items()
        },
        intervals={name: (each.lower, each.upper) for name, each in intervals.items()},
        reliability=tuple(ReliabilityBin(**asdict(each)) for each in ranked[MODEL].calibration_curve()),
        parity=published.parity,
    )
    return FittedUserModel(description, published.graph, evaluated.graph)


def _fit(
    train: UserDataset,
    calibration: UserDataset,
    names: tuple[str, ...],
    settings: TrainerSettings,
    votes: Floats | None = None,
) -> tuple[ExportedForest, BetaCalibration]:
    """Grow, calibrate and export; ``votes`` are of forests that have not seen the calibration rows."""
    forest = _grow(train, settings)
    if votes is None:
        votes = forest.score(calibration.inputs, jobs=settings.jobs)
    weights = recency_weights(calibration.timestamps_us, settings.label_span)
    by_kind = fit_kind_calibration(votes, calibration.inputs, calibration.labels, ONE_KIND, weights)
    exported = export_forest(forest, by_kind, calibration.inputs, names, jobs=settings.jobs)
    return exported, by_kind.by_kind[0]


def _grow(rows: UserDataset, settings: TrainerSettings) -> SplitForest:
    return SplitForest(grow_forest(rows.inputs, rows.labels, DEFAULT, seed=settings.seed, jobs=settings.jobs))


def _recency_frequency(train: UserDataset, rows: UserDataset) -> Floats:
    """Return the rates of a small tree of days since the last purchase and number of purchases."""
    fitted, wanted = (np.column_stack([each.recency_days, each.purchases]) for each in (train, rows))
    return np.asarray(fit_tree(fitted, train.labels).predict(wanted), np.float64)
