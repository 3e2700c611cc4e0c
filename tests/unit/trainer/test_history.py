"""The history that a model is trained on."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from reprise.event_files.options import ImportOptions
from reprise.events import Event
from reprise.runtime.durations import microseconds
from reprise.trainer.data.history import History, read_history
from reprise.trainer.exceptions import TrainingRefusedError
from reprise.trainer.settings import TrainerSettings
from support.hard_histories import random_history
from support.histories import event_table
from support.served_bundles import small_plan

DAY_US = 86_400_000_000
EVENTS = random_history(5, 600, years=0.5)


def history(folder: Path, events: Sequence[Event], **settings: object) -> History:
    folder.mkdir()
    pq.write_table(event_table(events), folder / "in.parquet")
    loaded = TrainerSettings.load(
        events=folder / "in.parquet", out=str(folder), **{"horizon": "10d"} | settings
    )
    return read_history(loaded, small_plan(), ImportOptions(), folder, {})


def test_stray_events_after_a_gap_are_left_out(tmp_path: Path) -> None:
    stray = replace(EVENTS[-1], event_id="stray", timestamp_us=EVENTS[-1].timestamp_us + 45 * DAY_US)
    plain, other = history(tmp_path / "a", EVENTS), history(tmp_path / "b", [*EVENTS, stray])
    assert (other.sha256, other.split) == (plain.sha256, plain.split)
    np.testing.assert_array_equal(other.dataset.labels, plain.dataset.labels)
    assert "1 events from" in other.report.notes[-1]


def test_further_horizons_add_labels_and_change_nothing_else(tmp_path: Path) -> None:
    plain, several = history(tmp_path / "a", EVENTS), history(tmp_path / "b", EVENTS, horizon="10d,3d,20d")
    np.testing.assert_array_equal(several.dataset.inputs, plain.dataset.inputs)
    np.testing.assert_array_equal(several.dataset.labels, plain.dataset.labels)
    assert several.split == plain.split
    for days in (3, 20):
        alone = history(tmp_path / f"{days}", EVENTS, horizon=f"{days}d").dataset.at_events
        rows = several.dataset.of_horizon(timedelta(days=days)).at_events
        known = several.further_splits[timedelta(days=days)].evaluation.end_us
        shared = min(np.searchsorted(each.timestamps_us, known) for each in (rows, alone))
        assert shared == min(len(rows), len(alone)) > 0
        np.testing.assert_array_equal(rows.labels[:shared], alone.labels[:shared])


def test_rows_from_a_cache_make_the_same_dataset(tmp_path: Path) -> None:
    cached = {"rows_cache": tmp_path / "cache", "horizon": "10d,3d,20d"}
    end_us = EVENTS[-1].timestamp_us - 3 * DAY_US
    history(tmp_path / "a", [each for each in EVENTS if each.timestamp_us < end_us], **cached)
    found = history(tmp_path / "b", EVENTS, **cached)
    plain = history(tmp_path / "c", EVENTS, horizon=cached["horizon"])
    assert found.cache.cached > found.cache.computed > 0
    np.testing.assert_allclose(found.dataset.inputs, plain.dataset.inputs, rtol=1e-6)
    for name in ("labels", "timestamps_us", "repeat_candidates", "recency_days", "users", "asked"):
        np.testing.assert_array_equal(getattr(found.dataset, name), getattr(plain.dataset, name))
    for horizon, labels in plain.dataset.further.items():
        np.testing.assert_array_equal(found.dataset.further[horizon], labels)


def test_what_a_further_horizon_is_judged_on_no_evaluated_model_has_learnt_from(tmp_path: Path) -> None:
    found = history(tmp_path / "a", EVENTS, horizon="10d,3d,20d")
    for horizon, split in found.further_splits.items():
        window_us = microseconds(horizon)
        assert split.train.end_us + window_us <= split.calibration.start_us
        assert split.calibration.end_us + window_us <= split.evaluation.start_us < split.evaluation.end_us
        assert found.split.evaluation.start_us <= split.evaluation.start_us
        assert split.evaluation.end_us <= found.split.evaluation.end_us


def test_second_horizon_that_the_history_is_too_short_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingRefusedError, match="too short for a horizon of 60d"):
        history(tmp_path / "a", EVENTS, horizon="10d,60d")


def test_purchases_returned_within_the_refund_window_are_no_positives(tmp_path: Path) -> None:
    returns = [
        Event(f"back-{at}", each.user_id, each.product_id, "return", each.timestamp_us + 1, each.amount)
        for at, each in enumerate(EVENTS)
        if each.event_type == "purchase" and at % 2
    ]
    events = sorted([*EVENTS, *returns], key=lambda each: each.timestamp_us)
    without = history(tmp_path / "a", events, refund_window="0s").dataset.positives
    assert 0 < history(tmp_path / "b", events, refund_window="1d").dataset.positives < without
