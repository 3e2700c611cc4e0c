"""The fit of the users' model: judged on held-out time, then grown on all rows, as the model of pairs is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from sklearn.tree import DecisionTreeRegressor

from reprise.bundle import Parity, ReliabilityBin, UserModel, UserScores, Window, sha256_hex
from reprise.bundle.scorer import Scorer
from reprise.evaluation.classification_metrics import Floats, RankedPredictions
from reprise.evaluation.cluster_bootstrap import bootstrap
from reprise.evaluation.time_split import Span, TimeSplit
from reprise.events import format_timestamp
from reprise.features.plan import Plan
from reprise.features.request_kinds import ONE_KIND
from reprise.features.user_rows import UserRows
from reprise.runtime.durations import format_duration, microseconds
from reprise.runtime.progress import progress
from reprise.trainer.data.history import History
from reprise.trainer.exceptions import TrainingRefusedError
from reprise.trainer.model.beta_calibration import BetaCalibration, fit_kind_calibration
from reprise.trainer.model.fitted_model import recency_weights
from reprise.trainer.model.forest import DEFAULT, SplitForest, grow_forest, score_forest
from reprise.trainer.model.onnx_graph import INPUT, OUTPUT, TOLERANCE, build_graph, check_parity, score_rows
from reprise.trainer.settings import TrainerSettings
from reprise.trainer.users.rows import MAX_USERS, UserDataset, load_user_dataset

MODEL = "model"
RECENCY_FREQUENCY = "recency_frequency"
PREVALENCE = "prevalence"

_MIN_TRAIN_LABELS = 30
_MIN_HELD_OUT_LABELS = 10
_DRAWS = 200
_LEAVES = 32
_LEAF_ROWS = 20


@dataclass(frozen=True, slots=True)
class FittedUserModel:
    """The description of a users' model, and its graphs."""

    description: UserModel
    published: bytes
    evaluated: bytes


@dataclass(frozen=True, slots=True)
class _Graph:
    graph: bytes
    scorer: Scorer
    calibration: BetaCalibration
    parity: Parity


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
            max_users=MAX_USERS,
            memory_limit=settings.memory_limit,
        ) as rows,
    ):
        dataset = load_user_dataset(
            rows, names, split.train.start_us, split.evaluation.end_us, settings.horizon
        )
        users = rows.users
        bar.advance()
    return fit_user_model(dataset, split, names, users, settings)


def fit_user_model(
    dataset: UserDataset, split: TimeSplit, names: tuple[str, ...], users: int, settings: TrainerSettings
) -> FittedUserModel:
    """Judge a model on the evaluation span, and fit the one to publish; raises as ``train_user_model``."""
    train, calibration, evaluation = (
        dataset.within(span) for span in (split.train, split.calibration, split.evaluation)
    )
    _check_labels({"training": train, "calibration": calibration, "evaluation": evaluation}, settings)
    refit = dataset.within(split.refit)
    recent = split.refit_calibration.rows(refit.timestamps_us)
    with progress("Growing the users' forests", 3, "forests") as bar:
        evaluated = _fit(train, calibration, names, settings)
        bar.advance()
        votes = _cross_fitted_votes(refit, settings)
        bar.advance()
        published = _fit(refit, refit.subset(recent), names, settings, votes[recent])
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
        train=_window(refit, split.refit),
        calibration=asdict(published.calibration),
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
) -> _Graph:
    """Grow, calibrate and export; ``votes`` are of forests that have not seen the calibration rows."""
    grown = grow_forest(train.inputs, train.labels, DEFAULT, seed=settings.seed, jobs=settings.jobs)
    if votes is None:
        votes = score_forest(grown, calibration.inputs, jobs=settings.jobs)
    weights = recency_weights(calibration.timestamps_us, settings.label_span)
    by_kind = fit_kind_calibration(votes, calibration.inputs, calibration.labels, ONE_KIND, weights)
    forest = SplitForest(grown)
    graph = build_graph(forest, by_kind)
    scorer = Scorer(graph, INPUT, OUTPUT, names)
    difference = check_parity(scorer, forest, by_kind, calibration.inputs, jobs=settings.jobs)
    parity = Parity(rows=len(calibration), max_abs_diff=difference, tolerance=TOLERANCE)
    return _Graph(graph, scorer, by_kind.by_kind[0], parity)


def _cross_fitted_votes(rows: UserDataset, settings: TrainerSettings) -> Floats:
    """Return votes for the rows of each half of the users, by a forest that is grown on the other half."""
    half = np.random.default_rng(settings.seed).integers(0, 2, int(rows.users.max()) + 1)[rows.users] == 1
    votes = np.empty(len(rows))
    for mine in (half, ~half):
        others = rows.subset(~mine)
        if not 0 < others.positives < len(others):
            raise TrainingRefusedError(
                "half of the users have rows of one label only", "events of more users"
            )
        forest = grow_forest(others.inputs, others.labels, DEFAULT, seed=settings.seed, jobs=settings.jobs)
        votes[mine] = score_forest(forest, rows.inputs[mine], jobs=settings.jobs)
    return votes


def _recency_frequency(train: UserDataset, rows: UserDataset) -> Floats:
    """Return the rates of a small tree of days since the last purchase and number of purchases."""
    tree = DecisionTreeRegressor(max_leaf_nodes=_LEAVES, min_samples_leaf=_LEAF_ROWS, random_state=0)
    fitted, wanted = (np.column_stack([each.recency_days, each.purchases]) for each in (train, rows))
    return np.asarray(tree.fit(fitted, train.labels.astype(np.float64)).predict(wanted), np.float64)


def _check_labels(spans: Mapping[str, UserDataset], settings: TrainerSettings) -> None:
    within = format_duration(settings.horizon)
    for name, part in spans.items():
        least = _MIN_TRAIN_LABELS if name == "training" else _MIN_HELD_OUT_LABELS
        if min(part.positives, len(part) - part.positives) < least:
            raise TrainingRefusedError(
                f"the {name} span has {len(part):,} rows of users, of which {part.positives:,} were followed by a"
                f" purchase within {within}; at least {least} with and {least} without are needed",
                "events of more users, a longer history, or another --horizon",
            )


def _window(dataset: UserDataset, span: Span) -> Window:
    rows = dataset.within(span)
    return Window(
        start=format_timestamp(span.start_us),
        end=format_timestamp(span.end_us),
        rows=len(rows),
        positives=rows.positives,
    )
