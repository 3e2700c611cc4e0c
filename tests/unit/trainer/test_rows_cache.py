"""The cache of training rows: what it gives equals what is computed from the whole history."""

import fcntl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from structlog.testing import capture_logs

from reprise.events import Event, event_key
from reprise.events.event import ERASED_PREFIX
from reprise.features.exceptions import NotEnoughEventsError
from reprise.features.executors.batch import BatchExecutor
from reprise.features.executors.plan_executor import PlanExecutor
from reprise.features.executors.state_fold import Snapshot, StateFold
from reprise.features.parity.comparison import compare, feature_scales
from reprise.features.plan import Plan
from reprise.features.training_rows import build_training_rows
from reprise.trainer.data.rows_cache import CacheUse, _lock, cached_rows
from reprise.trainer.exceptions import RowsError
from reprise.trainer.settings import TrainerSettings
from support.hard_histories import largest_amount, random_history
from support.histories import event_table
from support.plans import checked_in_plan
from support.served_bundles import small_plan
from support.waiting import wait_until

DAY_US = 86_400_000_000
EVENTS = random_history(5, 1_500, users=20, products=9, years=0.15)
FIRST_US = EVENTS[0].timestamp_us - EVENTS[0].timestamp_us % DAY_US


def sorted_events(events: Sequence[Event]) -> list[Event]:
    return sorted(events, key=lambda event: (event.timestamp_us, event_key(event.event_id)))


def until(days: float) -> list[Event]:
    return [event for event in EVENTS if event.timestamp_us < FIRST_US + days * DAY_US]


class Nights:
    """Trainings that share a cache; each compares its rows with those of the whole history."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.cache = folder / "cache"
        self.plan = plan
        self._folder = folder
        self._number = 0

    def train(
        self,
        events: Sequence[Event],
        *,
        open_executor: Callable[..., PlanExecutor] = BatchExecutor,
        **settings: object,
    ) -> CacheUse:
        self._number += 1
        folder = self._folder / f"night-{self._number}"
        folder.mkdir()
        source = folder / "events.parquet"
        pq.write_table(event_table(events), source)
        loaded = TrainerSettings.load(
            events=source, out=str(folder), **{"horizon": "5d", "refund_window": "1d"} | settings
        )
        build = partial(
            build_training_rows,
            source,
            plan=self.plan,
            horizon=loaded.default_horizon,
            refund_window=loaded.refund_window,
            questions=True,
            further=loaded.further_horizons,
        )
        kept = cached_rows(self.cache, source, folder, self.plan, loaded, open_executor, build)
        with kept as (files, use):
            found = pa.concat_tables(map(pq.read_table, files)).to_pandas()
        build(folder / "expected.parquet")
        expected = pq.read_table(folder / "expected.parquet").to_pandas()
        expected = expected[expected["label"].notna()].reset_index(drop=True)
        names = list(self.plan.input_names)
        pd.testing.assert_frame_equal(
            found.drop(columns=names), expected.drop(columns=names), check_dtype=False
        )
        numbers = expected[names].to_numpy()
        scales = feature_scales(self.plan, names, numbers, largest_amount(EVENTS))
        comparison = compare("cache and rebuild", names, found[names].to_numpy(), numbers, scales)
        assert [str(each) for each in comparison.mismatches] == []
        assert {"before", "after", "idle"} == set(found["asked"])
        return use


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path, small_plan())


def test_each_night_computes_only_its_new_days_and_no_day_twice(tmp_path: Path) -> None:
    nights = Nights(tmp_path, checked_in_plan())
    assert nights.train(until(40.3)) == CacheUse(0, 34)
    assert nights.train(until(41.6)) == CacheUse(34, 1)
    assert nights.train(until(44)) == CacheUse(35, 2)
    assert nights.train(until(44)) == CacheUse(37, 0)


def test_late_events_change_labels_of_kept_days_and_rows_of_their_own_day_on(nights: Nights) -> None:
    nights.train(until(40.3))
    bought = next(event for event in EVENTS if event.event_type == "purchase")
    late = replace(bought, event_id="late", timestamp_us=FIRST_US + 36 * DAY_US + 5)
    assert nights.train(sorted_events([*until(41.6), late])) == CacheUse(34, 1)
    later = replace(late, event_id="later", timestamp_us=FIRST_US + 34 * DAY_US + 5)
    assert nights.train(sorted_events([*until(42.6), late, later])) == CacheUse(34, 2)


def test_rows_of_an_erased_user_are_computed_without_the_user(nights: Nights) -> None:
    nights.train(until(40.3))
    user = EVENTS[0].user_id
    erased = [
        replace(event, user_id=f"{ERASED_PREFIX}1") if event.user_id == user else event
        for event in until(41.6)
    ]
    assert nights.train(erased) == CacheUse(0, 35)


def test_interrupted_runs_leave_a_cache_that_the_next_can_use(nights: Nights) -> None:
    with pytest.raises(KilledError):
        nights.train(until(40.3), open_executor=interrupt)
    assert nights.train(until(40.3)) == CacheUse(0, 34)
    assert nights.train(until(41.6)) == CacheUse(34, 1)
    lost = min(nights.cache.glob("rows-*.parquet"))
    states = max(nights.cache.glob("states-*-known_pairs.parquet"))
    left = lost.with_name(f".{lost.stem}.0.partial.parquet")
    lost.rename(left)
    states.unlink()
    assert nights.train(until(42.6)) == CacheUse(0, 36)
    assert not left.exists()


def test_a_snapshot_that_lacks_a_file_is_not_used_and_the_one_before_is(nights: Nights) -> None:
    nights.train(until(40.3))
    nights.train(until(41.6))
    *_, incomplete = sorted(nights.cache.glob("states-*-known_pairs.parquet"))
    incomplete.unlink()
    assert nights.train(until(42.3)) == CacheUse(35, 1)
    assert len(list(nights.cache.glob("states-*-known_pairs.parquet"))) == 2


def test_several_days_leave_two_snapshots_and_none_in_between(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    advance = StateFold.advance

    def counted(fold: StateFold, after: Snapshot) -> None:
        advance(fold, after)
        counts.append(len(list(nights.cache.glob("states-*-known_pairs.parquet"))))

    monkeypatch.setattr(StateFold, "advance", counted)
    monkeypatch.setattr("reprise.trainer.data.rows_cache._MAX_FOLDED_SHARE", 1.0)
    nights.train(until(40.3))
    assert nights.train(until(46.3)) == CacheUse(34, 6)
    assert counts == [2, 3, 4, 4, 4, 4]
    assert len(list(nights.cache.glob("states-*-known_pairs.parquet"))) == 2


def test_code_of_another_release_takes_no_row(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    nights.train(until(40.3))
    monkeypatch.setattr("reprise.trainer.data.rows_cache._engine_digest", lambda: "another")
    assert nights.train(until(40.3)) == CacheUse(0, 34)


def test_without_events_that_make_features_it_is_said_as_without_a_cache(nights: Nights) -> None:
    others = [replace(event, event_type="search") for event in until(40.3)]
    with pytest.raises(NotEnoughEventsError, match="no event is of a type that makes features"):
        nights.train(others)


def test_a_directory_that_cannot_be_made_is_named(nights: Nights) -> None:
    nights.cache.write_text("a file")
    with pytest.raises(RowsError, match=r"cache of --rows-cache: .*File exists"):
        nights.train(until(40.3))


def test_a_second_training_waits_until_the_first_has_read_its_rows(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as first, (tmp_path / "lock").open("w") as second:
        _lock(first, tmp_path)
        with ThreadPoolExecutor(1) as pool, capture_logs() as logs:
            waiting = pool.submit(_lock, second, tmp_path)
            wait_until("it waits", lambda: logs, 10)
            assert not waiting.done()
            fcntl.flock(first, fcntl.LOCK_UN)
            waiting.result(10)
    assert [entry["event"] for entry in logs] == ["waits_for_another_training"]


class KilledError(Exception):
    pass


def interrupt(*_: object, **__: object) -> PlanExecutor:
    raise KilledError


def test_another_plan_or_label_takes_no_row_that_it_would_change(nights: Nights) -> None:
    nights.train(until(40.3))
    assert nights.train(until(40.3), horizon="4d,8d") == CacheUse(34, 1)
    assert nights.train(until(42.3), horizon="4d,8d") == CacheUse(35, 2)
    nights.plan = replace(small_plan(), request_inputs=small_plan().request_inputs[:1])
    assert nights.train(until(40.3)) == CacheUse(0, 34)
