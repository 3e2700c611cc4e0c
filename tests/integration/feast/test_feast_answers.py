"""Feast's answers, of history and of now, are the batch executor's and the predictor's."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reprise.events import Event, format_timestamp, parse_timestamp
from reprise.features.exceptions import CollidingStatesError
from reprise.features.executors.batch import BatchExecutor
from reprise.features.parity.comparison import batch_inputs, compare, feature_scales
from reprise.features.plan import Plan
from support.feast_repository import FeastRepository, entity_rows, features_of, with_event_timestamps
from support.hard_histories import largest_amount, random_history, request_frame, requests_at
from support.histories import event_table
from support.predictor import predictor_on, published
from support.redis import RedisServer
from support.served_bundles import bundle_files

pytestmark = [pytest.mark.feast, pytest.mark.redis]

LATER = pd.Timestamp("2100-01-01", tz="UTC")


@pytest.fixture(scope="module")
def events() -> list[Event]:
    """Three years, a third of the events tied with another."""
    return random_history(seed=11, count=500)


@pytest.fixture(scope="module")
def loaded(applied: FeastRepository, events: list[Event]) -> FeastRepository:
    applied.write_states(event_table(events))
    return applied


def batch_answers(
    plan: Plan, events: list[Event], requests: pd.DataFrame
) -> np.ndarray[Any, np.dtype[np.float64]]:
    with BatchExecutor(plan) as executor:
        executor.load_events(event_table(events))
        return batch_inputs(executor, plan, requests)


def assert_same(
    plan: Plan, events: list[Event], executors: str, left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]
) -> None:
    names = plan.input_names
    scales = feature_scales(plan, names, left, largest_amount(events))
    found = compare(executors, names, left, right, scales)
    assert found.compared == left.size == len(left) * len(names)
    assert not found.mismatches, [str(mismatch) for mismatch in found.mismatches[:5]]


def test_history_is_what_the_batch_executor_computes(
    loaded: FeastRepository, feast_store: Any, events: list[Event]
) -> None:
    requests = request_frame(requests_at(events)).drop_duplicates(["user_id", "product_id", "timestamp_us"])
    requests = requests.assign(row_id=np.arange(len(requests))).sample(frac=1, random_state=1)
    service = feast_store.get_feature_service("reprise")
    asked = with_event_timestamps(requests.drop(columns="timestamp"))
    answer = feast_store.get_historical_features(asked, service, full_feature_names=True).to_df()
    assert sorted(answer["row_id"]) == list(range(len(requests)))
    assert len(requests) > 900
    plan = loaded.plan
    ours = batch_answers(plan, events, requests)
    assert_same(plan, events, "batch and Feast", ours[answer["row_id"]], features_of(answer, plan))


def test_many_products_of_one_user_at_one_instant_all_come_back(
    loaded: FeastRepository, feast_store: Any, events: list[Event]
) -> None:
    products = [*sorted({event.product_id for event in events}), "never seen"]
    asked = pd.DataFrame(
        {"user_id": "user-0", "product_id": products, "timestamp_us": events[250].timestamp_us}
    )
    asked = with_event_timestamps(asked.assign(amount=1.0, is_purchase=0.0))
    service = feast_store.get_feature_service("reprise")
    answer = feast_store.get_historical_features(asked, service, full_feature_names=True).to_df()
    assert sorted(answer["product_id"]) == sorted(products)


def test_asking_for_bare_names_is_refused_and_never_answered_wrongly(
    loaded: FeastRepository, feast_store: Any, events: list[Event]
) -> None:
    service = feast_store.get_feature_service("reprise")
    row = {"user_id": "user-0", "product_id": "product-0", "timestamp_us": events[-1].timestamp_us}
    row |= {"amount": 1.0, "is_purchase": 1.0}
    with pytest.raises(Exception, match="full_feature_names=True"):
        feast_store.get_online_features(features=service, entity_rows=[row])
    with pytest.raises(CollidingStatesError, match="full_feature_names=True"):
        feast_store.get_online_features(features=["features:total_spend"], entity_rows=[row])


def test_now_is_what_the_batch_executor_and_the_predictor_say(
    loaded: FeastRepository,
    feast_store: Any,
    events: list[Event],
    redis_server: RedisServer,
    tmp_path: Path,
) -> None:
    plan = loaded.plan
    feast_store.materialize(pd.Timestamp("1900-01-02", tz="UTC"), LATER)
    requests = request_frame(requests_at(events, seed=3)[400:600])  # with a type and an amount, and without
    now_us = time.time_ns() // 1000  # the predictor answers for the present only
    requests = requests.assign(timestamp_us=now_us + np.arange(len(requests)))
    requests.loc[:9, "user_id"] = "nobody"
    requests.loc[5:14, "product_id"] = "nothing"
    service = feast_store.get_feature_service("reprise")
    answer = feast_store.get_online_features(
        features=service, entity_rows=entity_rows(requests), full_feature_names=True
    ).to_df()
    feasts = features_of(answer, plan)
    assert_same(plan, events, "batch and Feast", batch_answers(plan, events, requests), feasts)

    published(tmp_path, bundle_files(plan))
    with predictor_on(redis_server, tmp_path, max_batch=1000) as predictor:
        served = _predicted(predictor, plan, requests)
        assert_same(plan, events, "predictor and Feast", served, feasts)
        _assert_features_now(predictor, feast_store, plan, events)


def _predicted(predictor: Any, plan: Plan, requests: pd.DataFrame) -> np.ndarray[Any, Any]:
    asked = [
        {
            "user_id": row["user_id"],
            "product_id": row["product_id"],
            "timestamp": format_timestamp(row["timestamp_us"]),
            **({} if row["amount"] is None else {"amount": row["amount"]}),
            **(
                {}
                if row["is_purchase"] is None
                else {"event_type": "purchase" if row["is_purchase"] else "view"}
            ),
        }
        for row in entity_rows(requests)
    ]
    answer = predictor.post("/predict/batch?explain=all", json={"requests": asked})
    assert answer.status_code == 200, answer.text
    assert answer.json()["failed"] == 0, answer.text[:1_000]
    used = [result["features_used"] for result in answer.json()["results"]]
    return np.array([[row[name] for name in plan.input_names] for row in used], dtype=np.float64)


def _assert_features_now(predictor: Any, feast_store: Any, plan: Plan, events: list[Event]) -> None:
    answer = predictor.get("/features/user-1", params={"product_id": "product-1"}).json()
    row = {"user_id": "user-1", "product_id": "product-1", "amount": None, "is_purchase": None}
    said = feast_store.get_online_features(
        features=feast_store.get_feature_service("reprise"),
        entity_rows=[row | {"timestamp_us": parse_timestamp(answer["timestamp"])}],
        full_feature_names=True,
    ).to_df()
    listed = np.array([name in answer["features"] for name in plan.input_names])
    assert listed.sum() > 50  # all but what is of the request
    served = np.array([[answer["features"].get(name) for name in plan.input_names]], dtype=np.float64)
    from_feast = np.where(listed, features_of(said, plan), np.nan)
    assert_same(plan, events, "/features and Feast", served, from_feast)
