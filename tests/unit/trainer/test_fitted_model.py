from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from reprise.evaluation.poisson_gamma import PastPurchases
from reprise.evaluation.time_split import Span, TimeSplit
from reprise.features.request_kinds import ONE_KIND, KindColumns
from reprise.features.sampled_requests import ASKED
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.evaluation.held_out import evaluate_slices, score_intervals
from reprise.trainer.exceptions import TrainingRefusedError
from reprise.trainer.model.beta_calibration import fit_beta_calibration, recency_weights
from reprise.trainer.model.calibrated_forest import CalibratedForest
from reprise.trainer.model.fitted_model import FittedModel, fit_model
from reprise.trainer.model.forest import LEAF_ROWS, ForestParameters, choose_parameters, grow_split_forest
from reprise.trainer.model.importance import group_importances
from reprise.trainer.model.learning_curve import learning_curve
from reprise.trainer.threshold import Thresholds
from support.labelled_rows import DAY_US, NAMES, SETTINGS, make_table

pytestmark = pytest.mark.slow


def fit(table: Dataset, split: TimeSplit, **changes: Any) -> FittedModel:
    return fit_model(table, split, NAMES, SETTINGS.model_copy(update=changes))


@pytest.fixture(scope="module")
def fitted() -> FittedModel:
    return fit(*make_table())


def test_model_beats_both_baselines_and_nears_the_oracle(fitted: FittedModel) -> None:
    for report in (fitted.evaluation.overall, fitted.evaluation.repeat_candidates):
        for baseline in report.baselines.values():
            assert report.model.roc_auc > baseline.roc_auc + 0.03
            assert report.model.log_loss < baseline.log_loss
        assert report.model.roc_auc < report.oracle.roc_auc + 0.01
    overall = fitted.evaluation.overall
    assert overall.baselines["prevalence"].roc_auc == 0.5
    assert overall.share_of_achievable > 0.85


def test_probabilities_are_calibrated_despite_balanced_classes(fitted: FittedModel) -> None:
    model = fitted.evaluation.overall.model
    assert fitted.predictions.by_scorer["model"].mean() == pytest.approx(
        fitted.predictions.rows.labels.mean(), abs=0.02
    )
    assert model.calibration_error < 0.03


def test_intervals_enclose_the_scores_and_are_wider_of_fewer_rows(fitted: FittedModel) -> None:
    reports = {"overall": fitted.evaluation.overall, "repeat_candidates": fitted.evaluation.repeat_candidates}
    for name, report in reports.items():
        for score, interval in fitted.intervals[name].items():
            assert interval.value == pytest.approx(getattr(report.model, score))
            assert 0 < interval.upper - interval.lower < 0.2
            assert interval.lower < interval.value < interval.upper
    widths = [fitted.intervals[name]["roc_auc"] for name in reports]
    assert widths[1].upper - widths[1].lower > widths[0].upper - widths[0].lower


def test_intervals_are_over_users_not_rows(fitted: FittedModel) -> None:
    rows = fitted.predictions.rows
    copies = np.tile(np.arange(len(rows)), 4)
    four_times = fitted.predictions.subset(copies)
    again, once = (score_intervals(each)["brier"] for each in (four_times, fitted.predictions))
    assert again.upper - again.lower == pytest.approx(once.upper - once.lower, rel=1e-6)


def test_repeat_candidates_are_the_rows_with_an_earlier_purchase(fitted: FittedModel) -> None:
    rows, repeat = fitted.predictions.rows, fitted.evaluation.repeat_candidates
    labels = rows.labels[rows.repeat_candidates]
    assert (repeat.rows, repeat.positives) == (len(labels), labels.sum())


def test_evaluation_rows_come_last_and_are_all_counted(fitted: FittedModel) -> None:
    table, split = make_table()
    assert fitted.predictions.rows.timestamps_us.min() >= split.evaluation.start_us
    rows = len(fitted.predictions.rows)
    assert sum(fitted.score_histogram.counts) == sum(part.rows for part in fitted.time_slices) == rows
    assert fitted.published.parity.rows == len(table.within(split.refit_calibration)) > rows
    assert max(fitted.published.parity.max_abs_diff, fitted.evaluated.parity.max_abs_diff) < 1e-5
    for histogram in fitted.feature_histograms.values():
        assert sum(histogram.counts) + histogram.missing == len(table.within(split.refit))


def test_published_forest_is_the_one_that_a_longer_history_evaluates() -> None:
    """The same code path, the same parameters, later data."""
    table, _ = make_table(6_000)
    days = [Span(start * DAY_US, end * DAY_US) for start, end in ((0, 100), (110, 140), (150, 200))]
    short = fit(table, TimeSplit(*days), cv_folds=0)
    later = (Span(210 * DAY_US, 240 * DAY_US), Span(250 * DAY_US, 355 * DAY_US))
    longer = fit(table, TimeSplit(Span(10 * DAY_US, 200 * DAY_US), *later), cv_folds=0)
    assert trees(short.published) == trees(longer.evaluated) != trees(short.evaluated)
    assert short.selection == longer.selection


def test_published_model_is_calibrated_by_a_forest_that_has_not_seen_the_rows(fitted: FittedModel) -> None:
    table, split = make_table()
    rows = table.within(split.evaluation)
    # its own votes for rows that it was grown on are right too often, so what it says of them is too cautious
    weights = recency_weights(rows.timestamps_us, SETTINGS.default_horizon)
    own = fit_beta_calibration(fitted.published.scorer.score(rows.inputs), rows.labels, weights)
    assert own.a + own.b > 2.2


@pytest.mark.parametrize(("days", "half_life"), [(60, 15), (20, 15), (200, 50)])
def test_weights_halve_with_a_half_label_window_or_a_quarter_of_the_time(days: int, half_life: int) -> None:
    ages = np.array([days, half_life, 0])
    weights = recency_weights((days - ages) * DAY_US, timedelta(days=30))
    assert weights.tolist() == pytest.approx([0.5 ** (days / half_life), 0.5, 1.0])


ASKED_COLUMNS = KindColumns(purchases=4, is_purchase=5)


def make_asked_table(rows: int = 20_000, *, seed: int = 0) -> tuple[Dataset, TimeSplit]:
    """A shop in which idle pairs are bought half as often as pairs at an event."""
    table, split = make_table(rows, seed=seed)
    random = np.random.default_rng(4 + seed)
    asked = random.choice(3, len(table), p=[0.6, 0.1, 0.3]).astype(np.int8)
    idle = asked == ASKED.index("idle")
    labels = table.labels & ~(idle & (random.random(len(table)) < 0.5))
    bought = np.where(table.repeat_candidates, 2.0, 0.0)
    is_purchase = np.where(idle, np.nan, (random.random(len(table)) < 0.4).astype(float))
    inputs = np.asfortranarray(np.column_stack((table.inputs, bought, is_purchase)), dtype=np.float32)
    truth = np.where(idle, np.nan, table.truth)
    return replace(table, inputs=inputs, labels=labels, asked=asked, truth=truth), split


@pytest.fixture(scope="module")
def asked_model() -> FittedModel:
    settings = SETTINGS.model_copy(update={"cv_folds": 0})
    return fit_model(*make_asked_table(), (*NAMES, "bought", "is_purchase"), settings, ASKED_COLUMNS)


def test_each_kind_of_question_is_calibrated_and_judged_by_itself(asked_model: FittedModel) -> None:
    model = asked_model
    assert len(model.published.forest.parts) == 2
    questions = model.evaluation.questions
    assert set(questions) == {
        "other event",
        "purchase, before it is stored",
        "purchase, after it is stored",
        "idle, bought before",
        "idle, never bought",
    }
    for name, report in questions.items():
        rate = report.positives / report.rows
        assert abs(report.mean_probability - rate) < 4 * np.sqrt(rate / report.rows), name
        assert (report.oracle is None) == name.startswith("idle")
    judged = sum(questions[name].rows for name in list(questions)[:2])
    assert model.evaluation.overall.rows == judged == len(model.predictions.rows)


def test_stated_confidence_is_right_on_later_rows_of_every_kind(asked_model: FittedModel) -> None:
    """Of the verdicts with at least a stated confidence, that share is right, within the error of both samples."""
    later, _ = make_asked_table(60_000, seed=9)
    kinds = ASKED_COLUMNS.kinds(later.inputs)
    probabilities = asked_model.published.scorer.score(later.inputs).astype(np.float64)
    checked = 0
    for number, verdict in enumerate(asked_model.verdicts.values()):
        edges, confidences = np.array(verdict.edges), np.array(verdict.confidences)
        stated = confidences[np.searchsorted(edges, probabilities, side="right")]
        predicted = probabilities >= verdict.threshold
        counted = verdict.true_positives + verdict.false_positives
        counted += verdict.true_negatives + verdict.false_negatives
        if verdict.pooled:
            continue
        for side in (predicted, ~predicted):
            own = (kinds == number) & side
            for least in np.quantile(stated[own], [0.0, 0.5, 0.9]):
                tail = own & (stated >= least)
                share = (predicted == later.labels)[tail].mean()
                judged = max(100, tail.sum() * counted / (kinds == number).sum())
                error = np.sqrt(max(share * (1 - share), 0.01) * (1 / tail.sum() + 1 / judged))
                assert abs(share - least) < 4 * error, (number, least, share)
                checked += 1
    assert checked > 20


def test_each_kind_has_its_threshold_by_the_rule(asked_model: FittedModel) -> None:
    thresholds = [verdict.threshold for verdict in asked_model.verdicts.values()]
    assert tuple(thresholds) == asked_model.published.thresholds.by_kind
    assert len(set(thresholds)) == 6


def test_a_plan_whose_inputs_tell_no_kinds_apart_has_one_forest(fitted: FittedModel) -> None:
    assert len(fitted.published.forest.parts) == 1
    assert len(set(fitted.published.calibration.by_kind)) == 1


def trees(model: CalibratedForest) -> list[bytes]:
    parts = (estimator.tree_ for estimator in model.forest.first.estimators_)
    return [tree.threshold.tobytes() + tree.feature.tobytes() + tree.value.tobytes() for tree in parts]


def test_importances_rank_what_made_the_labels(fitted: FittedModel) -> None:
    by_name = {item.name: item for item in fitted.importances}
    assert [item.name for item in fitted.importances[:2]] in (["due", "affinity"], ["affinity", "due"])
    assert abs(by_name["noise"].permutation) < 0.01
    assert by_name["constant"].permutation == by_name["constant"].impurity == 0.0
    assert sum(item.impurity for item in fitted.importances) == pytest.approx(1.0)


@pytest.mark.soak
def test_same_rows_and_seed_make_the_same_model_and_report(fitted: FittedModel) -> None:
    again = fit(*make_table(), jobs=1)
    assert again.evaluated.graph == fitted.evaluated.graph
    for name in ("graph", "thresholds", "parity"):
        assert getattr(again.published, name) == getattr(fitted.published, name)
    for name in ("evaluation", "importances", "verdicts"):
        assert getattr(again, name) == getattr(fitted, name)
    assert fit(*make_table(), seed=2).published.graph != fitted.published.graph


def test_fixed_threshold_is_used_for_everyone() -> None:
    table, split = make_table(4_000, truth=False)
    model = fit(table, split, threshold=0.4, cv_folds=0)
    assert model.published.thresholds == model.evaluated.thresholds == Thresholds(0.4, (0.4,) * 6)
    overall, predictions = model.evaluation.overall, model.predictions
    assert (overall.oracle, overall.share_of_achievable) == (None, None)
    called = predictions.rows.labels[predictions.by_scorer["model"] >= 0.4]
    assert overall.model.precision == pytest.approx(called.mean())


def test_threshold_follows_the_rule_on_out_of_time_rows() -> None:
    table, split = make_table(4_000, truth=False)
    model = fit(table, split, threshold_rule="top:10%", cv_folds=0)
    rows = table.within(split.calibration).inputs
    reached = model.evaluated.scorer.score(rows) >= model.evaluated.thresholds.overall
    assert reached.mean() == pytest.approx(0.1, abs=0.01)
    assert model.published.thresholds.overall == pytest.approx(model.evaluated.thresholds.overall, rel=0.3)


def test_precision_that_no_threshold_reaches_is_refused() -> None:
    table, split = make_table(4_000)
    rows, labels = split.calibration.rows(table.timestamps_us), table.labels.copy()
    labels[rows] = table.truth[rows] < np.median(table.truth[rows])
    with pytest.raises(TrainingRefusedError, match="no threshold satisfies precision:1"):
        fit(replace(table, labels=labels), split, threshold_rule="precision:1", cv_folds=0)


def test_shuffled_labels_are_not_learnt() -> None:
    table, split = make_table(6_000, truth=False)
    shuffled = replace(table, labels=np.random.default_rng(0).permutation(table.labels))
    model = fit(shuffled, split, cv_folds=0)
    assert model.evaluation.overall.model.roc_auc == pytest.approx(0.5, abs=0.05)


def all_labels(label: bool) -> Callable[[Dataset, TimeSplit], Dataset]:
    return lambda table, _: replace(table, labels=np.full(len(table), label))


def three_purchases_at_last(table: Dataset, split: TimeSplit) -> Dataset:
    labels, rows = table.labels.copy(), split.evaluation.rows(table.timestamps_us)
    labels[rows] = np.arange(rows.stop - rows.start) < 3
    return replace(table, labels=labels)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param(all_labels(False), "only one class: in none of.*within 10d", id="no purchases"),
        pytest.param(all_labels(True), "only one class: in all of.*within 10d", id="nothing else"),
        pytest.param(
            three_purchases_at_last, r"evaluation span has .* rows, of which 3 were followed", id="too few"
        ),
        pytest.param(
            lambda table, split: table.within(split.train), "calibration span has 0 rows", id="no rows"
        ),
    ],
)
def test_labels_that_cannot_be_learnt_from_are_refused_with_a_remedy(
    changed: Callable[[Dataset, TimeSplit], Dataset], message: str
) -> None:
    table, split = make_table(2_000)
    with pytest.raises(TrainingRefusedError, match=message) as refused:
        fit(changed(table, split), split)
    assert "--horizon" in refused.value.remedy


def test_largest_leaf_among_equals_is_chosen() -> None:
    assert list(LEAF_ROWS) == sorted(LEAF_ROWS, reverse=True)
    table, _ = make_table(3_000)
    selection = choose_parameters(table, 2, seed=0, jobs=1, leaf_rows=(100, 99))
    assert selection.parameters.leaf_rows == selection.parameters.repeat_leaf_rows == 100
    assert [len(score.first_aucs) for score in selection.candidates] == [2, 2]


def test_one_forest_for_all_pairs_has_the_leaf_size_that_is_best_over_all() -> None:
    """A fine pattern, in which fewer than thirty pairs were bought before."""
    rng = np.random.default_rng(0)
    table, _ = make_table(6_000)
    position = rng.random(len(table))
    inputs = np.column_stack((np.arange(len(table)) < 20, position)).astype(np.float32)
    changed = replace(table, inputs=inputs, labels=position * 40 % 2 < 1)
    selection = choose_parameters(changed, 3, KindColumns(purchases=0), seed=0, jobs=1)
    assert selection.parameters.leaf_rows < LEAF_ROWS[0]
    assert all(not score.repeat_aucs for score in selection.candidates)


def test_each_group_of_pairs_has_its_own_leaf_size() -> None:
    """Half of the rows have a noisy linear trend, the others a fine pattern that large leaves cannot follow."""
    rng = np.random.default_rng(0)
    table, _ = make_table(6_000)
    purchases, position = rng.integers(0, 2, len(table)), rng.random(len(table))
    trend, pattern = 0.4 + 0.2 * position, position * 40 % 2 < 1
    labels = rng.random(len(table)) < np.where(purchases > 0, pattern, trend)
    inputs = np.column_stack((purchases, position)).astype(np.float32)
    columns = KindColumns(purchases=0)
    changed = replace(table, inputs=inputs, labels=labels)
    chosen = choose_parameters(changed, 3, columns, seed=0, jobs=1).parameters
    assert chosen.leaf_rows > chosen.repeat_leaf_rows
    grown = grow_split_forest(changed, columns, replace(chosen, trees=2), seed=0, jobs=1)
    assert [forest.min_samples_leaf for forest in grown.parts] == [chosen.leaf_rows, chosen.repeat_leaf_rows]


def test_every_held_out_row_is_in_one_slice_of_each_dimension(fitted: FittedModel) -> None:
    predictions = fitted.predictions.subset(slice(0, 600))
    counts = np.random.default_rng(0).choice([np.nan, 1, 2, 4, 5, 19, 20, 500], len(predictions.rows))
    with_past = replace(predictions, rows=replace(predictions.rows, past=PastPurchases(*[counts] * 7)))
    slices = evaluate_slices(with_past)
    assert [each.name for each in slices["purchases of the pair"]] == ["0", "1", "2 to 4", "5 or more"]
    assert slices["purchases of the pair"][0].rows == np.isnan(counts).sum()
    for parts in slices.values():
        assert sum(each.rows for each in parts) == len(predictions.rows)
        assert all(each.intervals["brier"].lower <= each.intervals["brier"].upper for each in parts)


def test_slices_by_metadata_are_of_the_most_frequent_values(fitted: FittedModel) -> None:
    predictions = fitted.predictions.subset(slice(0, 600))
    texts = np.array([*"abcdefghijklmn", None], object)[np.minimum(np.arange(600) // 10, 14)]
    sliced = evaluate_slices(
        replace(predictions, rows=replace(predictions.rows, metadata={"shop": texts, "month": texts}))
    )
    rows = {each.name: each.rows for each in sliced["shop"]}
    assert rows["(missing)"] == 460
    assert rows["(others)"] == 30
    assert len(rows) == 13
    assert [each.name for each in sliced["month of the event"]] == [each.name for each in sliced["shop"]]
    assert all(each.name.startswith("19") for each in sliced["month"])
    assert sum(rows.values()) == 600


def test_group_of_inputs_matters_by_what_its_inputs_say_together(fitted: FittedModel) -> None:
    groups = {"noise": [2, 3], "signal": [0, 1]}
    found = group_importances(fitted.evaluated.scorer, fitted.predictions.rows, groups, seed=1)
    assert list(found) == ["signal", "noise"]
    assert found["signal"][0] > 0.1 > 10 * abs(found["noise"][0])
    assert 0 < found["signal"][1] < 0.05


def test_learning_curve_rises_with_the_rows_and_ends_at_all_of_them() -> None:
    table, split = make_table(4_000)
    train, evaluation = table.within(split.train), table.within(split.evaluation)
    curve = learning_curve(train, split.train, evaluation, ForestParameters(trees=10), ONE_KIND, SETTINGS)
    rows = {point.part: point.rows for point in curve}
    assert (rows["10% of the rows"], curve[-1].rows) == (len(train) // 10, len(train))
    assert rows["latest 50% of the time"] == pytest.approx(len(train) / 2, rel=0.1)
    assert curve[0].overall < curve[-1].overall
    assert curve[0].repeat_candidates < curve[-1].repeat_candidates
