"""The users' model is calibrated on users and time that it has not seen, and its graph is what is judged."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from reprise.bundle.scorer import Scorer
from reprise.evaluation.classification_metrics import RankedPredictions
from reprise.evaluation.time_split import split_by_time
from reprise.trainer.exceptions import TrainingRefusedError
from reprise.trainer.settings import TrainerSettings
from reprise.trainer.users.model import FittedUserModel, UserDataset, fit_user_model

DAY_US = 86_400_000_000
NAMES = ("days", "purchases", "taste", "noise")
SPLIT = split_by_time(0, 300 * DAY_US, timedelta(days=20))
SETTINGS = TrainerSettings.load(events=Path("e.csv"), out="models", horizon="20d", jobs=2, seed=3)


def true_probability(inputs: np.ndarray) -> np.ndarray:
    days, purchases, taste = np.nan_to_num(inputs[:, :3]).T
    return 1 / (1 + np.exp(0.06 * days - 0.15 * purchases - 1.5 * taste + 0.5))


def draw(rows: int, seed: int, end_us: int = SPLIT.evaluation.end_us) -> UserDataset:
    """Rows whose labels depend on days, purchases and a taste; a tenth of the values is missing."""
    rng = np.random.default_rng(seed)
    inputs = np.column_stack(
        [rng.exponential(20, rows), rng.poisson(4, rows), rng.normal(size=rows), rng.normal(size=rows)]
    ).astype(np.float32)
    inputs[rng.random(rows) < 0.1, 2] = np.nan
    return UserDataset(
        inputs=inputs,
        labels=rng.random(rows) < true_probability(inputs),
        timestamps_us=np.sort(rng.integers(0, end_us, rows)),
        users=rng.integers(0, rows // 8, rows),
        recency_days=inputs[:, 0].astype(np.float64),
        purchases=inputs[:, 1].astype(np.float64),
    )


@pytest.fixture(scope="module")
def dataset() -> UserDataset:
    return draw(12_000, 1)


@pytest.fixture(scope="module")
def fitted(dataset: UserDataset) -> FittedUserModel:
    return fit_user_model(dataset, SPLIT, NAMES, 2_000, SETTINGS)


def test_probabilities_of_new_users_are_calibrated_and_beat_recency_and_frequency(
    dataset: UserDataset, fitted: FittedUserModel
) -> None:
    found = fitted.description
    evaluation = dataset.within(SPLIT.evaluation)
    assert (found.rows, found.positives) == (len(evaluation), evaluation.positives)
    assert found.train.rows > dataset.within(SPLIT.train).positives
    fresh = draw(40_000, 2)
    truth = true_probability(fresh.inputs)
    for graph in (fitted.published, fitted.evaluated):
        probabilities = Scorer(graph, "inputs", "probability", NAMES).score(fresh.inputs).astype(np.float64)
        metrics = RankedPredictions.of(fresh.labels, probabilities).metrics()
        oracle = RankedPredictions.of(fresh.labels, truth).metrics()
        assert metrics.calibration_error < 0.03
        assert abs(metrics.mean_probability - metrics.base_rate) < 0.02
        assert metrics.roc_auc > oracle.roc_auc - 0.02
    scores = found.scores
    assert scores["model"].roc_auc > scores["recency_frequency"].roc_auc + 0.05
    assert scores["model"].brier < scores["recency_frequency"].brier < scores["prevalence"].brier
    low, high = found.intervals["roc_auc"]
    assert low < scores["model"].roc_auc < high
    assert sum(each.rows for each in found.reliability) == found.rows


def test_evaluation_is_of_the_evaluated_graph_on_held_out_time(
    dataset: UserDataset, fitted: FittedUserModel
) -> None:
    evaluation = dataset.within(SPLIT.evaluation)
    scorer = Scorer(fitted.evaluated, "inputs", "probability", NAMES)
    probabilities = scorer.score(evaluation.inputs).astype(np.float64)
    metrics = RankedPredictions.of(evaluation.labels, probabilities).metrics()
    assert fitted.description.scores["model"].brier == pytest.approx(metrics.brier)


def test_the_evaluated_graph_has_not_seen_the_evaluation_and_the_published_has(
    dataset: UserDataset, fitted: FittedUserModel
) -> None:
    later = dataset.timestamps_us >= SPLIT.calibration.end_us
    other = replace(dataset, labels=np.where(later, ~dataset.labels, dataset.labels))
    again = fit_user_model(other, SPLIT, NAMES, 2_000, SETTINGS)
    # The same rows and seed make the same bytes
    assert again.evaluated == fitted.evaluated
    assert again.published != fitted.published
    assert again.description.scores["model"].roc_auc < 0.5 < fitted.description.scores["model"].roc_auc


def test_too_few_labels_of_a_span_are_refused(dataset: UserDataset) -> None:
    positives = np.flatnonzero(dataset.labels & (dataset.timestamps_us >= SPLIT.evaluation.start_us))
    kept = np.ones(len(dataset), np.bool_)
    kept[positives[9:]] = False
    with pytest.raises(TrainingRefusedError, match=r"evaluation span has .* of which 9 were followed"):
        fit_user_model(dataset.subset(kept), SPLIT, NAMES, 2_000, SETTINGS)
