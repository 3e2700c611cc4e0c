"""The files that Feast reads hold, for every instant, what the batch executor says of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprise.events import Event
from reprise.features.executors.batch import BatchExecutor
from reprise.features.executors.fold import Fold
from reprise.features.feast.state_files import EVENT_TIMESTAMP, state_file_name, write_state_rows
from reprise.features.feature_functions import FloatArray
from reprise.features.parity.comparison import batch_inputs, compare, feature_scales
from reprise.features.plan import EntityPlan, Plan
from reprise.features.vectorizer import FeatureVectorizer
from reprise.store.feast.view import WATERMARKS
from reprise.store.watermarks import Watermarks
from support.feast_repository import with_positions
from support.hard_histories import largest_amount, random_history, request_frame, requests_at
from support.histories import event_table
from support.parity import folded_states
from support.plans import checked_in_plan

TOPIC_ID = "6f1d0c0e-5a0b-4d7e-9c3f-0123456789ab"
TOPIC = bytes.fromhex(TOPIC_ID.replace("-", ""))


def written(folder: Path, plan: Plan, events: Any) -> Path:
    pq.write_table(events, folder / "events.parquet")
    write_state_rows(folder / "events.parquet", folder / "states", plan)
    return folder / "states"


def rows_of(states: Path, entity: EntityPlan) -> pd.DataFrame:
    return pq.read_table(states / state_file_name(entity.view)).to_pandas()


def found_at(states: Path, entity: EntityPlan, requests: pd.DataFrame) -> FloatArray:
    """What a point-in-time join finds, as Feast's: the last row at or before each request."""
    rows = rows_of(states, entity).rename(columns={EVENT_TIMESTAMP: "at"}).sort_values("at")
    asked = requests.assign(
        at=pd.to_datetime(requests["timestamp_us"], unit="us", utc=True).astype(rows["at"].dtype)
    )
    joined = pd.merge_asof(asked.sort_values("at"), rows, on="at", by=list(entity.view.join_keys))
    read = entity.projection
    found = joined.sort_values("row_id")[[field.name for field in read.view.fields]]
    empty = {name: value for name, value in zip(found.columns, read.empty, strict=True) if value is not None}
    return found.astype("float64").fillna(empty).to_numpy()


def test_a_users_rows_have_the_list_at_each_instant(tmp_path: Path) -> None:
    document = checked_in_plan().to_dict()
    (spec,) = (each for each in document["entities"]["user"]["state"] if each["kind"] == "latest_products")
    spec["limit"] = 2
    plan, events = Plan.from_dict(document), random_history(seed=8, count=120, users=3)
    states, at = folded_states(plan, []), plan.user.field_index["purchases_latest_products"]
    expected: dict[tuple[str, int], bytes] = {}
    for event in events:
        states.fold(Fold(plan), event)
        expected[event.user_id, event.timestamp_us + 1] = states.users[event.user_id][at]
    rows = rows_of(written(tmp_path, plan, event_table(events)), plan.user)
    rows = rows[rows[EVENT_TIMESTAMP] > pd.Timestamp("1900-01-01", tz="UTC")]
    instants = rows[EVENT_TIMESTAMP].astype("int64")
    found = dict(
        zip(zip(rows["user_id"], instants, strict=True), rows["purchases_latest_products"], strict=True)
    )
    assert found == expected


@pytest.mark.parametrize("years", [0.01, 3, 40])  # 40 years are more half-lives than a double has room for
def test_the_last_row_at_an_instant_is_everything_strictly_before_it(tmp_path: Path, years: float) -> None:
    plan, events = checked_in_plan(), random_history(seed=5, count=300, years=years)
    requests = request_frame(requests_at(events))
    states = written(tmp_path, plan, event_table(events))
    user, product, pair = (found_at(states, entity, requests) for entity in plan.entities)
    request = (requests[name].to_numpy(np.float64) for name in ("timestamp_us", "amount", "is_purchase"))
    views = [entity.projection.view for entity in plan.entities]
    found = FeatureVectorizer(plan, views).matrix(user, product, pair, *request)
    with BatchExecutor(plan) as executor:
        executor.load_events(event_table(events))
        expected = batch_inputs(executor, plan, requests)
    scales = feature_scales(plan, plan.input_names, expected, largest_amount(events))
    assert not compare("batch and rows", plan.input_names, expected, found, scales).mismatches


def test_each_entity_has_a_row_for_each_of_its_instants_and_an_empty_one_before(tmp_path: Path) -> None:
    plan, events = checked_in_plan(), random_history(seed=6, count=200)
    states = written(tmp_path, plan, event_table(events))
    for entity in plan.entities:
        rows = rows_of(states, entity)
        instants = {(*(getattr(e, key) for key in entity.view.join_keys), e.timestamp_us) for e in events}
        entities = {ids[:-1] for ids in instants}
        assert len(rows) == len(instants) + len(entities)
        first = rows.sort_values(EVENT_TIMESTAMP).drop_duplicates(list(entity.view.join_keys))
        assert (first[EVENT_TIMESTAMP] == pd.Timestamp("1900-01-01", tz="UTC")).all()
        for field, empty in zip(entity.view.fields, entity.empty, strict=True):
            values = first[field.name]
            assert values.isna().all() if empty is None else (values == empty).all(), field


def watermarks(states: Path, entity: EntityPlan) -> dict[tuple[str, ...], list[dict[int, int]]]:
    """By entity, what its rows cover, in the order of time."""
    found: dict[tuple[str, ...], list[dict[int, int]]] = {}
    for row in rows_of(states, entity).sort_values(EVENT_TIMESTAMP).to_dict("records"):
        covered = dict(Watermarks.parse(row[WATERMARKS], TOPIC).offsets)
        found.setdefault(tuple(row[key] for key in entity.view.join_keys), []).append(covered)
    return found


def arrivals(events: Sequence[tuple[str, str, int]]) -> list[Event]:
    return [
        Event(f"e{at}", user, product, "purchase", 1_700_000_000_000_000 + seconds * 1_000_000, 1.0)
        for at, (user, product, seconds) in enumerate(events)
    ]


def test_an_entitys_last_row_covers_all_records_and_the_others_their_own(tmp_path: Path) -> None:
    events = arrivals([("a", "p", 1), ("b", "p", 2), ("a", "p", 3), ("b", "q", 4), ("a", "q", 5)])
    places = [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)]
    states = written(tmp_path, checked_in_plan(), with_positions(event_table(events), places, TOPIC_ID))
    plan = checked_in_plan()
    everything = {0: 2, 1: 1}
    assert watermarks(states, plan.user) == {
        ("a",): [{}, {0: 0}, {0: 1}, everything],
        ("b",): [{}, {1: 0}, everything],
    }
    assert watermarks(states, plan.product) == {
        ("p",): [{}, {0: 0}, {0: 0, 1: 0}, everything],
        ("q",): [{}, {1: 1}, everything],
    }


def test_records_of_a_topic_that_was_made_again_are_in_the_state_and_not_in_the_watermarks(
    tmp_path: Path,
) -> None:
    plan = checked_in_plan()
    before, after = arrivals([("a", "p", 9)]), arrivals([("a", "p", 1), ("a", "p", 2)])[1:]
    older = with_positions(event_table(before), [(0, 77)], "00000000-0000-0000-0000-000000000001")
    newer = with_positions(event_table(after), [(0, 0)], TOPIC_ID)

    states = written(tmp_path, plan, pa.concat_tables([older, newer]))
    assert watermarks(states, plan.user) == {("a",): [{}, {0: 0}, {0: 0}]}
    last = rows_of(states, plan.user).sort_values(EVENT_TIMESTAMP).iloc[-1]
    assert last["purchases_count"] == 2


def test_events_that_are_no_records_make_rows_of_no_topic(tmp_path: Path) -> None:
    plan, events = checked_in_plan(), random_history(seed=7, count=20)
    states = written(tmp_path, plan, event_table(events))
    for entity in plan.entities:
        assert set(rows_of(states, entity)[WATERMARKS]) == {Watermarks(bytes(16)).to_bytes()}
