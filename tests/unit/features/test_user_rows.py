"""Rows of users: their inputs are those of the stream, and their labels those of the history."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprise.events import Event
from reprise.events.event import ERASED_PREFIX
from reprise.features.executors.fold import Fold, InMemoryStates
from reprise.features.user_rows import UserRows, user_plan
from reprise.features.vectorizer import FeatureVectorizer
from support.hard_histories import DAY_US, NOW, purchase, random_history, view
from support.histories import event_table
from support.plans import checked_in_plan

PLAN = checked_in_plan()
EVENTS = [
    *random_history(5, 2_000, users=30, products=10),
    Event("erased", f"{ERASED_PREFIX}1", "product-1", "purchase", 1_000_000_000_000_000, 1.0),
]
PURCHASES: dict[str, list[tuple[int, float | None]]] = defaultdict(list)
for each in sorted(EVENTS, key=lambda e: e.timestamp_us):
    if each.event_type == "purchase" and not each.user_id.startswith(ERASED_PREFIX):
        PURCHASES[each.user_id].append((each.timestamp_us, each.amount))
TIMES = sorted(event.timestamp_us for event in EVENTS)


def written(folder: Path, events: Sequence[Event]) -> Path:
    path = folder / "events.parquet"
    pq.write_table(event_table(events), path)
    return path


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return written(tmp_path, EVENTS)


def by_user(found: UserRows, buyers: pa.Table) -> dict[str, np.ndarray]:
    """Return the inputs of each buyer."""
    return dict(zip(buyers["user_id"].to_pylist(), np.concatenate(list(found.inputs(buyers))), strict=True))


def test_inputs_are_those_of_the_stream_strictly_before_the_instant(events: Path) -> None:
    instants = [TIMES[700], TIMES[1_500]]
    with UserRows(PLAN, events) as rows:
        buyers = rows.buyers(instants)
        inputs = np.concatenate(list(rows.inputs(buyers)))
    expected = {
        (user, at)
        for user, bought in PURCHASES.items()
        for at in instants
        if any(ts < at for ts, _ in bought)
    }
    found = list(zip(buyers["user_id"].to_pylist(), buyers["ts"].to_pylist(), strict=True))
    assert set(found) == expected
    assert len(found) == len(expected)
    names = [PLAN.input_names.index(each.name) for each in user_plan(PLAN).inputs]
    vectorizer = FeatureVectorizer(PLAN)
    for at in instants:
        fold, states = Fold(PLAN), InMemoryStates(PLAN)
        for event in sorted((e for e in EVENTS if e.timestamp_us < at), key=lambda e: e.timestamp_us):
            states.fold(fold, event)
        for place, (user, ts) in enumerate(found):
            if ts == at:
                vector = np.array(vectorizer.vector(*states.of(user, "no product"), at))[names]
                np.testing.assert_allclose(inputs[place], vector, rtol=1e-9, atol=1e-9)


def test_past_and_next_purchase_leave_out_those_of_the_very_instant(events: Path) -> None:
    at = sorted(bought[-2][0] for bought in PURCHASES.values())[15]  # Also an instant of a purchase
    with UserRows(PLAN, events) as rows:
        past = rows.past(rows.buyers([at])).to_pylist()
    assert len(past) > 10
    for row in past:
        own = PURCHASES[row["user_id"]]
        before = [ts for ts, _ in own if ts < at]
        assert (row["purchases"], row["last_us"]) == (len(before), before[-1])
        assert row["next_us"] == min((ts for ts, _ in own if ts > at), default=None)


def test_later_events_are_unknown_and_patterns_are_those_of_days_and_horizons(events: Path) -> None:
    at, horizon = TIMES[1_500], 7 * DAY_US
    with UserRows(PLAN, events, before_us=at) as rows:
        assert set(rows.past(rows.buyers([at]))["next_us"].to_pylist()) == {None}
        patterns = rows.purchase_patterns(at, horizon).to_pylist()
    assert len(patterns) > 10
    for row in patterns:
        own = [(ts, amount) for ts, amount in PURCHASES[row["user_id"]] if ts < at]
        days = np.unique([ts // DAY_US for ts, _ in own])
        assert row["gap_days"] == (np.median(np.diff(days)) if len(days) > 1 else None)
        horizons = {(at - 1 - ts) // horizon for ts, _ in own}
        amounts = [amount for _, amount in own if amount is not None]
        assert row["value"] == pytest.approx(sum(amounts) / len(horizons) if amounts else None)


def test_returned_purchases_are_not_in_the_value(tmp_path: Path) -> None:
    at = 100 * DAY_US
    history = [
        purchase(10 * DAY_US, 5.0, "kept"),
        purchase(50 * DAY_US, 7.0, "kept", "q"),
        replace(view(51 * DAY_US, "kept", "q"), event_type="return"),
        purchase(10 * DAY_US, 5.0, "returned"),
        replace(view(11 * DAY_US, "returned"), event_type="return"),
    ]
    path, found = written(tmp_path, history), []
    for refund_us in (0, 2 * DAY_US):
        with UserRows(PLAN, path, before_us=at, refund_us=refund_us) as rows:
            patterns = rows.purchase_patterns(at, 30 * DAY_US).to_pylist()
        found.append([(row["user_id"], row["value"]) for row in patterns])
    assert found == [[("kept", 6.0), ("returned", 5.0)], [("kept", 5.0), ("returned", None)]]


def test_sampled_rows_are_even_over_time_and_users(tmp_path: Path) -> None:
    starts = [NOW] * 200 + [NOW + 50 * DAY_US] * 200
    path = written(tmp_path, [purchase(at, None, f"u{number}") for number, at in enumerate(starts)])
    with UserRows(PLAN, path) as rows:
        found = rows.sampled(NOW, NOW + 100 * DAY_US, 30 * DAY_US, 100_000).to_pandas()
        fewer = rows.sampled(NOW, NOW + 100 * DAY_US, 30 * DAY_US, 600)
    # One row in ten days: 100 days of the first half, 50 of the others
    assert len(found) == pytest.approx(200 * 10 + 200 * 5, rel=0.03)
    days = (found["ts"] - NOW) / DAY_US
    assert (days < 100).all()
    assert (days[found["user_id"].str[1:].astype(int) >= 200] > 50).all()
    per_half = np.bincount((days // 50).astype(int), minlength=2)
    assert per_half[1] / per_half[0] == pytest.approx(2, rel=0.05)
    assert len(fewer) == pytest.approx(600, rel=0.1)
    # Also if the users are few of many: ten days of 0.1 of the rows each
    with UserRows(PLAN, path, max_users=60) as rows:
        some = rows.sampled(NOW, NOW + 10 * DAY_US, 30 * DAY_US, 100_000).to_pandas()
    assert np.histogram((some["ts"] - NOW) / DAY_US, bins=2, range=(0, 10))[0].min() > 0.25 * len(some)


def test_more_users_than_the_maximum_are_sampled_with_their_events(events: Path) -> None:
    at = TIMES[1_500]
    with UserRows(PLAN, events) as rows:
        everyone = by_user(rows, rows.buyers([at]))
    with UserRows(PLAN, events, max_users=7) as rows:
        assert rows.users == 7
        for user, inputs in by_user(rows, rows.buyers([at])).items():
            np.testing.assert_allclose(inputs, everyone[user], rtol=1e-9)


def test_a_returned_purchase_is_no_next_purchase(tmp_path: Path) -> None:
    events = [purchase(NOW + day * DAY_US, 1.0) for day in (0, 10, 20)]
    path = written(tmp_path, [*events, replace(view(NOW + 12 * DAY_US), event_type="return")])
    for refund_days, expected in ((0, 10), (5, 20), (1, 10)):
        with UserRows(PLAN, path, refund_us=refund_days * DAY_US) as found:
            (row,) = found.past(found.buyers([NOW + 5 * DAY_US])).to_pylist()
            assert row["next_us"] == NOW + expected * DAY_US
