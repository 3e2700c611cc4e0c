"""Sampled requests: idle ones uniform over pairs and time, others just after an event that the state holds."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from reprise.features.sampled_requests import AFTER_SHARE, AFTER_US, IDLE_SHARE
from reprise.features.training_rows import build_training_rows
from support.hard_histories import random_history
from support.histories import event_table
from support.plans import checked_in_plan

PLAN = checked_in_plan()
HORIZON = timedelta(days=30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("questions")
    pq.write_table(event_table(random_history(3, 4_000, users=40, products=12)), path / "events.parquet")
    return path


@pytest.fixture(scope="module")
def rows(folder: Path) -> pd.DataFrame:
    build_training_rows(folder / "events.parquet", folder / "rows.parquet", PLAN, HORIZON, questions=True)
    return pq.read_table(folder / "rows.parquet").to_pandas()


@pytest.fixture(scope="module")
def events(folder: Path) -> pd.DataFrame:
    return pq.read_table(folder / "events.parquet").to_pandas().drop_duplicates("event_id")


def test_rows_at_events_are_those_without_sampled_requests(folder: Path, rows: pd.DataFrame) -> None:
    build_training_rows(folder / "events.parquet", folder / "plain.parquet", PLAN, HORIZON)
    plain = pq.read_table(folder / "plain.parquet").to_pandas()
    asked_before = rows[rows["asked"] == "before"].drop(columns="asked").reset_index(drop=True)
    pd.testing.assert_frame_equal(asked_before, plain)


def test_purchases_are_asked_about_within_a_minute_when_the_state_holds_them(
    rows: pd.DataFrame, events: pd.DataFrame
) -> None:
    after = rows[rows["asked"] == "after"]
    purchases = after[after["event_type"] == "purchase"]
    assert set(purchases["event_id"]) == set(events.loc[events["event_type"] == "purchase", "event_id"])
    assert 0 < len(after) - len(purchases) < 2 * AFTER_SHARE * len(events)
    waited = purchases["timestamp"] - purchases["event_id"].map(events.set_index("event_id")["timestamp"])
    assert (waited > pd.Timedelta(0)).all()
    assert (waited <= pd.Timedelta(AFTER_US + 1, "us")).all()
    assert (purchases["pair_purchases"] >= 1).all()
    assert (purchases["pair_days_since_purchase"] * 86_400 <= AFTER_US / 1e6 + 1).all()
    assert (purchases["request_is_purchase"] == 1).all()


def test_label_of_a_question_looks_ahead_from_its_own_instant(
    rows: pd.DataFrame, events: pd.DataFrame
) -> None:
    bought = events[events["event_type"] == "purchase"].groupby(["user_id", "product_id"])["timestamp"]
    instants = {pair: times.dt.tz_localize(None).to_numpy() for pair, times in bought}
    labelled = rows[(rows["asked"] != "before") & rows["label"].notna()]
    assert labelled["label"].nunique() == 2
    for row in labelled.itertuples():
        bought_at = instants.get((row.user_id, row.product_id), np.array([], "datetime64[us]"))
        at = row.timestamp.tz_localize(None).to_datetime64()
        assert row.label == bool(((bought_at > at) & (bought_at <= at + HORIZON)).any())


def test_idle_questions_are_uniform_over_the_pairs_at_any_instant(
    rows: pd.DataFrame, events: pd.DataFrame
) -> None:
    idle = rows[rows["asked"] == "idle"]
    assert idle[["event_id", "event_type", "amount", "request_is_purchase"]].isna().all(axis=None)
    last = events["timestamp"].max() - HORIZON
    assert (idle["timestamp"] <= last).all()
    of_pair = ["user_id", "product_id"]
    known = events.groupby(of_pair)["timestamp"].min().rename("known")
    bought = events[events["event_type"] == "purchase"].groupby(of_pair)["timestamp"].min().rename("bought")
    pairs = pd.concat([known, bought], axis=1)
    of_day = events["timestamp"].dt.floor("D").value_counts()
    for repeat, asked in idle.groupby("repeat_candidate"):
        start, end = (pairs["bought"], None) if repeat else (pairs["known"], pairs["bought"])
        expected = pd.Series(0.0, pairs.index)
        total = 0.0
        for day, count in of_day[of_day.index <= last].items():
            alive = _alive_share(start, end, day, day + pd.Timedelta(days=1))
            rate = min(1.0, IDLE_SHARE * count / alive.sum()) if alive.sum() else 0.0
            shown = alive if last > day + pd.Timedelta(days=1) else _alive_share(start, end, day, last)
            expected += rate * shown
            total += rate * shown.sum()
        counts = asked.groupby(of_pair).size().reindex(pairs.index, fill_value=0)
        # a systematic sample has the expected number, rounded up or down
        assert (abs(counts - expected) < 1 + 1e-6).all()
        assert len(asked) == pytest.approx(total, rel=0.15)
        assert total > 300


def _alive_share(
    start: pd.Series, end: pd.Series | None, opens: pd.Timestamp, closes: pd.Timestamp
) -> pd.Series:
    """Return how much of a day each pair is in the group within a part of it."""
    until = closes if end is None else end.fillna(closes).clip(upper=closes)
    return ((until - start.clip(lower=opens)) / pd.Timedelta(days=1)).clip(lower=0).fillna(0)


@pytest.mark.parametrize("days", [400, 401])
def test_questions_of_a_day_do_not_depend_on_later_events(
    folder: Path, rows: pd.DataFrame, events: pd.DataFrame, days: int
) -> None:
    first = events["timestamp"].min().floor("D")
    end = first + pd.Timedelta(days=days)
    until = pc.less(pc.field("timestamp"), pa.scalar(end + HORIZON + pd.Timedelta(hours=7)))
    pq.write_table(pq.read_table(folder / "events.parquet", filters=until), folder / "earlier.parquet")
    build_training_rows(
        folder / "earlier.parquet", folder / "earlier-rows.parquet", PLAN, HORIZON, questions=True
    )
    earlier = pq.read_table(folder / "earlier-rows.parquet").to_pandas()
    found, expected = (
        each.loc[each["timestamp"] < end, ["timestamp", "asked", "user_id", "product_id", "event_id"]]
        for each in (earlier, rows)
    )
    assert (expected["asked"] == "idle").sum() > 100
    pd.testing.assert_frame_equal(found, expected)
