"""Models as of earlier dates learn from nothing that was not known then."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from reprise.evaluation.time_split import Span, TimeSplit
from reprise.features.request_kinds import ONE_KIND
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.model.backtests import Backtests, backtest
from reprise.trainer.model.forest import ForestParameters
from support.labelled_rows import HORIZON, NAMES, SETTINGS, make_table

pytestmark = pytest.mark.slow


def test_backtests_are_of_consecutive_label_windows_until_the_chosen_parameters_would_be_from_the_future() -> (
    None
):
    table, split = make_table(6_000)
    result = run_backtests(table, split, 24)
    assert result.ended == "the history is too short for an earlier date"
    found = result.found
    spans = [each.judged for each in found]
    assert spans[0].end_us == split.evaluation.end_us
    assert all(later.start_us == earlier.end_us for later, earlier in pairwise(spans))
    assert {each.length_us for each in spans} == {HORIZON // timedelta(microseconds=1)}
    oldest_label_us = spans[-1].start_us - split.label_window_us
    assert split.train.end_us <= oldest_label_us < split.train.end_us + split.label_window_us
    rows = [each.trained_rows for each in found]
    assert rows == sorted(rows, reverse=True)
    assert all(each.intervals["overall"]["roc_auc"].value > 0.6 for each in found)


def test_a_backtest_knows_no_label_that_was_not_known_at_its_date() -> None:
    table, split = make_table(4_000)
    known = run_backtests(table, split, 1)
    assert known.ended is None
    start_us = known.found[0].judged.start_us
    gap = Span(start_us - split.label_window_us, start_us).rows(table.timestamps_us)
    labels = table.labels.copy()
    labels[gap] = ~labels[gap]
    assert run_backtests(replace(table, labels=labels), split, 1) == known
    labels[gap.start - 200 : gap.start] ^= True
    assert run_backtests(replace(table, labels=labels), split, 1) != known


def test_too_few_labels_end_the_backtests() -> None:
    table, split = make_table(4_000)
    labels = table.labels.copy()
    last = Span(split.evaluation.end_us - split.label_window_us, split.evaluation.end_us)
    labels[last.rows(table.timestamps_us)] = False
    found = run_backtests(replace(table, labels=labels), split, 2)
    assert found.found == ()
    assert "followed by a purchase" in found.ended


def test_a_model_that_would_have_been_refused_ends_the_backtests_and_says_why() -> None:
    table, split = make_table(4_000)
    found = run_backtests(table, split, 1, threshold_rule="precision:0.999")
    assert found.found == ()
    assert "no threshold satisfies precision:0.999" in found.ended


def run_backtests(table: Dataset, split: TimeSplit, count: int, **changes: object) -> Backtests:
    settings = SETTINGS.model_copy(update={"backtests": count} | changes)
    return backtest(table, split, ForestParameters(trees=10), NAMES, settings, ONE_KIND)
