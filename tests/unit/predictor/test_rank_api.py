"""``GET /users/{user_id}/buy-again`` and ``POST /rank``: an order of products, in two round trips at most."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from reprise.features.latest_products import pack_entry
from reprise.features.plan import Plan
from support.fake_log import FakeLogProducer
from support.predictor import NOW_US, RunningPredictor, published, running_predictor
from support.served_bundles import DAY_US, bundle_files, small_plan
from support.waiting import wait_until


def ranking_plan(*, keeps_list: bool = True) -> Plan:
    """The small plan with the inputs of the timing."""
    document = small_plan().to_dict()
    pair, product = document["entities"]["pair"], document["entities"]["product"]
    pair["state"] += [{"kind": kind, "frame": "purchases"} for kind in ("first_time", "last_time")]
    between = {
        "kind": "between", "first": "purchases_first_us", "last": "purchases_last_us", "n": "purchases_count",
        "unit_us": DAY_US,
    }  # fmt: skip
    since = {"kind": "since", "instant": "purchases_last_us", "unit_us": DAY_US}
    ratio = {"kind": "ratio", "numerator": "pairs_days_between_sum", "denominator": "pairs_days_between_n"}
    document["pair_values"]["days_between"] = between
    product["state"].append({"kind": "pair_sum", "inner": "days_between"})
    for entity, name, finish in (
        (pair, "pair_days_since_purchase", since),
        (pair, "pair_repurchase_days", between),
        (product, "product_repurchase_days", ratio),
    ):
        entity["inputs"].append(
            {"name": name, "finish": finish, "source": "", "unit": "days", "description": ""}
        )
    if not keeps_list:
        del document["entities"]["user"]["state"][-1]
    return Plan.from_dict(document)


PLAN = ranking_plan()
LIST = b"".join(
    pack_entry(NOW_US - days * DAY_US, name) for days, name in ((1, "tea"), (4, "p/é"), (30, "new"))
)


def known(running: RunningPredictor) -> None:
    """Tea twice, ten days apart; p/é thrice, two days apart; new once, of a product bought every 25 days."""
    user = (7, 90.0, 12.5, NOW_US - DAY_US, 2, 2.0, LIST)
    for name, purchases, first, last, product in (
        ("tea", 2, 11, 1, (9, 5, 50.0)),
        ("p/é", 3, 8, 4, (9, 5, 50.0)),
        ("new", 1, 30, 30, (9, 2, 50.0)),
    ):
        pair = (purchases, NOW_US - first * DAY_US, NOW_US - last * DAY_US)
        running.know("u/1", name, user=user, product=product, pair=pair)
    products = running.context.configured_model.current.products
    assert products is not None
    running.reader.put(products.codec, [LIST], "u/1")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    published(path, bundle_files(PLAN, weights={"pair_purchases": 1.0}, bias=-2.0))
    return path


@pytest.fixture(scope="module")
def log() -> FakeLogProducer:
    return FakeLogProducer()


@pytest.fixture(scope="module")
def shared(store: Path, log: FakeLogProducer) -> Iterator[RunningPredictor]:
    with running_predictor(store, log, redis_ping_seconds=3600, prediction_log=True, max_batch=4) as running:
        known(running)
        yield running


def buy_again(predictor: RunningPredictor, query: str = "", user: str = "u%2F1") -> Any:
    response = predictor.client.get(f"/users/{user}/buy-again{query}")
    assert response.status_code == 200, response.text
    return response.json()


def test_a_users_products_are_ranked_by_probability_with_their_timing(predictor: RunningPredictor) -> None:
    answer = buy_again(predictor)
    results = answer["results"]
    assert [
        (each["product_id"], each["last_purchase"], pytest.approx(each["due_in_days"])) for each in results
    ] == [
        ("p/é", "2026-01-27T12:00:00Z", -2.0),  # its own cycle of 2 days is over since 2
        ("tea", "2026-01-30T12:00:00Z", 9.0),
        ("new", "2026-01-01T12:00:00Z", -5.0),  # bought once, so the product's cycle of 25 days
    ]
    assert [each["probability"] for each in results] == sorted(
        (e["probability"] for e in results), reverse=True
    )
    assert answer["failed"] == 0
    assert predictor.reader.round_trips == 2
    assert (
        predictor.metric("reprise_predictor_requests_total", endpoint="/users/buy-again", outcome="ok") == 1
    )
    single = predictor.client.post("/predict", json={"user_id": "u/1", "product_id": "p/é"}).json()
    assert {name: results[0][name] for name in single} == single


def test_a_purchase_one_second_ago_moves_the_list_at_once(predictor: RunningPredictor) -> None:
    products = predictor.context.configured_model.current.products
    assert products is not None
    predictor.reader.put(products.codec, [pack_entry(NOW_US - 1_000_000, "fresh") + LIST], "u/1")
    predictor.know(
        "u/1", "fresh", user=None, product=(9, 2, 50.0), pair=(1, NOW_US - 1_000_000, NOW_US - 1_000_000)
    )
    try:
        found = {each["product_id"]: each for each in buy_again(predictor)["results"]}
    finally:
        known(predictor)
    assert found["fresh"]["last_purchase"] == "2026-01-31T11:59:59Z"
    assert found["fresh"]["due_in_days"] == pytest.approx(25, abs=1e-4)


def test_limit_bounds_what_is_answered_and_logged(predictor: RunningPredictor, log: FakeLogProducer) -> None:
    trace = {"traceparent": f"00-{'5' * 32}-{'7' * 16}-01"}
    answer = predictor.client.get("/users/u%2F1/buy-again?limit=1&explain=all", headers=trace).json()
    assert [each["product_id"] for each in answer["results"]] == ["p/é"]

    def logged() -> list[Any]:
        records = [orjson.loads(value) for _, _, value in log.appended]
        return [record for record in records if record["trace_id"] == "5" * 32]

    wait_until("the prediction is logged", lambda: bool(logged()), 5, every=0.01)
    (record,) = logged()
    assert (record["product_id"], record["event_type"]) == ("p/é", None)
    assert set(record["features"]) == set(PLAN.input_names)


def test_limit_of_explained_products_is_named(predictor: RunningPredictor) -> None:
    query = "explain=contributions"
    assert predictor.client.get(f"/users/u%2F1/buy-again?limit=100&{query}").status_code == 200
    response = predictor.client.get(f"/users/u%2F1/buy-again?limit=101&{query}")
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["limit"]


def test_an_unknown_user_has_an_empty_list(predictor: RunningPredictor) -> None:
    assert buy_again(predictor, user="nobody") == {"results": [], "failed": 0}
    assert predictor.reader.round_trips == 1


def test_rank_answers_the_callers_products_in_one_round_trip(predictor: RunningPredictor) -> None:
    response = predictor.client.post("/rank", json={"user_id": "u/1", "product_ids": ["never", "tea", "new"]})
    results = response.json()["results"]
    assert [each["product_id"] for each in results] == ["tea", "new", "never"]
    assert (results[2]["last_purchase"], results[2]["due_in_days"]) == (None, None)
    assert results[2]["known"] == {"user": True, "product": False, "pair": False}
    assert predictor.reader.round_trips == 1


def test_an_unreadable_product_comes_last_as_a_problem(predictor: RunningPredictor) -> None:
    pair = predictor.context.configured_model.current.pair
    predictor.reader.corrupt.add(pair.codec.key("u/1", "p/é"))
    answer = buy_again(predictor)
    assert [each.get("product_id") for each in answer["results"]] == ["tea", "new", None]
    assert answer["results"][2]["type"] == "urn:reprise:problem:unreadable-state"
    assert answer["results"][0]["due_in_days"] == pytest.approx(9.0)
    assert answer["failed"] == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"user_id": "u", "product_ids": []}, "product_ids"),
        ({"user_id": "u", "product_ids": ["a"] * 5}, "product_ids"),
        ({"user_id": "u", "product_ids": ["a\0"]}, "product_ids"),
        ({"user_id": "u", "product_ids": [7]}, "product_ids"),
        ({"product_ids": ["a"]}, "user_id"),
        ({"user_id": "u", "product_ids": ["a"], "amount": 3}, "amount"),
    ],
)
def test_what_breaks_the_contract_is_named(predictor: RunningPredictor, body: Any, field: str) -> None:
    response = predictor.client.post("/rank", json=body)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


def test_state_and_models_without_a_list_are_problems_of_their_own(
    predictor: RunningPredictor, tmp_path: Path
) -> None:
    products = predictor.context.configured_model.current.products
    assert products is not None
    predictor.reader.put(products.codec, [None], "old")  # written by a plan without the list
    response = predictor.client.get("/users/old/buy-again")
    assert (response.status_code, response.json()["type"]) == (500, "urn:reprise:problem:unreadable-state")
    published(tmp_path, bundle_files(ranking_plan(keeps_list=False)))
    with running_predictor(tmp_path, redis_ping_seconds=3600) as without:
        response = without.client.get("/users/u/buy-again")
    assert (response.status_code, response.json()["type"]) == (501, "urn:reprise:problem:no-product-list")
