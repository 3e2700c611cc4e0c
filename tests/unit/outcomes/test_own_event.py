"""What counts as an outcome of a prediction that was made at an event: from the predictor's log to the labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from reprise.archive import OfflineStore
from reprise.events import Event, encode_event, format_timestamp
from reprise.features.labels import Outcome
from reprise.log import PREDICTIONS, Record
from reprise.outcomes.settings import OutcomesSettings
from reprise.outcomes.tables.archive_snapshot import take_snapshot
from reprise.outcomes.tables.outcome_join import (
    ExposureWindow,
    buyers,
    enter_users,
    final_user_values,
    join_outcomes,
    model_arms,
    open_predictions,
)
from support.fake_log import FakeLogProducer
from support.offline import put
from support.plans import with_other_names
from support.predictor import NOW_US, published, running_predictor
from support.served_bundles import DAY_US, bundle_files, small_plan

SECOND_US = 1_000_000
UNTIL_US = NOW_US + 10 * DAY_US


@dataclass(frozen=True)
class Case:
    """Requests (seconds after now, product, event type, event id) and purchases (seconds, product, id) of one user.

    ``returns`` are the seconds at which product p is returned; within an hour the purchase does not count.
    ``waits`` are the seconds from each request to its outcome; ``converted`` is whether the first one has any.
    """

    requests: list[tuple[int, str, str | None, str | None]]
    purchases: list[tuple[int, str, str]]
    waits: list[int | None]
    converted: bool
    returns: tuple[int, ...] = ()


WITH_ID, WITHOUT_ID, VIEW = (0, "p", "purchase", "e1"), (0, "p", "purchase", None), (0, "p", "view", None)

CASES = {
    "asked before, with id": Case([WITH_ID], [(2, "p", "e1"), (500, "p", "e2")], [500], True),
    "asked long before, with id": Case([WITH_ID], [(3600, "p", "e1")], [None], False),
    "asked before, with id, and another one first": Case(
        [WITH_ID], [(1, "p", "e2"), (2, "p", "e1")], [1], True
    ),
    "asked before, with id, and another one soon": Case(
        [WITH_ID], [(2, "p", "e1"), (3, "p", "e2")], [3], True
    ),
    "id of an event that never comes": Case([WITH_ID], [(2, "p", "e2")], [2], True),
    "asked before, without id": Case([WITHOUT_ID], [(60, "p", "e1")], [None], False),
    "asked before, without id, and again": Case([WITHOUT_ID], [(1, "p", "e1"), (2, "p", "e2")], [2], True),
    "asked at the instant, without id, and again": Case(
        [WITHOUT_ID], [(0, "p", "e1"), (30, "p", "e2")], [30], True
    ),
    "without id, more than a minute before": Case([WITHOUT_ID], [(61, "p", "e1")], [61], True),
    "without id, of another product": Case([WITHOUT_ID], [(5, "q", "e1")], [None], True),
    "asked after, with id": Case([WITH_ID], [(-1, "p", "e1"), (50, "p", "e2")], [50], True),
    "asked after, once": Case([WITH_ID], [(-1, "p", "e1")], [None], False),
    "two purchases of one instant, the first asked about": Case(
        [WITH_ID], [(2, "p", "e1"), (2, "p", "e2")], [2], True
    ),
    "two purchases of one instant, the second asked about": Case(
        [(0, "p", "purchase", "e2")], [(2, "p", "e1"), (2, "p", "e2")], [2], True
    ),
    "two purchases of one instant, without id": Case(
        [WITHOUT_ID], [(2, "p", "e1"), (2, "p", "e2")], [2], True
    ),
    "each of two excludes its own": Case(
        [(0, "p", "purchase", "e1"), (10, "p", "purchase", "e2")],
        [(2, "p", "e1"), (12, "p", "e2")],
        [12, None],
        True,
    ),
    "a view, then the purchase": Case([VIEW], [(5, "p", "e1")], [5], True),
    "a view with id, then the purchase": Case([(0, "p", "view", "v1")], [(5, "p", "e1")], [5], True),
    "a purchase that is returned, and another": Case(
        [VIEW], [(5, "p", "e1"), (50, "p", "e2")], [50], True, (20,)
    ),
    "a purchase that is returned": Case([VIEW], [(5, "p", "e1")], [None], False, (3605,)),
    "returned too late": Case([VIEW], [(5, "p", "e1")], [5], True, (3606,)),
    "asked before, without id, returned, and again": Case(
        [WITHOUT_ID], [(2, "p", "e1"), (5, "p", "e2")], [5], True, (3,)
    ),
    "idle": Case([(0, "p", None, None)], [(5, "p", "e1")], [5], True),
    "a basket": Case(
        [(0, "p", "purchase", "e1"), (0, "q", "purchase", None)],
        [(2, "p", "e1"), (2, "q", "e2")],
        [None, None],
        False,
    ),
}


def request_body(user: str, at: int, product: str, kind: str | None, event_id: str | None) -> dict[str, Any]:
    body = {
        "user_id": user,
        "product_id": product,
        "event_type": kind,
        "event_id": event_id and f"{user} {event_id}",
    }
    return body | {"timestamp": format_timestamp(NOW_US + at * SECOND_US)}


@pytest.fixture(scope="module", params=["purchase", "order"])
def connection(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The join of what a predictor logged with what its users bought; users are named as their case."""
    folder: Path = tmp_path_factory.mktemp("shop")
    plan = small_plan() if request.param == "purchase" else with_other_names(small_plan())
    assert plan.purchase_type == request.param
    published(folder / "models", bundle_files(plan))
    log = FakeLogProducer()
    with running_predictor(
        folder / "models", log, prediction_log=True, event_types=f"view,{request.param}"
    ) as predictor:
        asked = [request_body(user, *each) for user, case in CASES.items() for each in case.requests]
        for each in asked:
            each["event_type"] = request.param if each["event_type"] == "purchase" else each["event_type"]
        answer = predictor.client.post("/predict/batch", json={"requests": asked}).json()
        assert answer["failed"] == 0
    purchases = [
        Event(f"{user} {event_id}", user, product, request.param, NOW_US + at * SECOND_US, 9.5)
        for user, case in CASES.items()
        for at, product, event_id in case.purchases
    ]
    purchases += [
        Event(f"{user} returned {at}", user, "p", "return", NOW_US + at * SECOND_US)
        for user, case in CASES.items()
        for at in case.returns
    ]
    events = [encode_event(each) for each in (*purchases, Event("last", "x", "p", "view", UNTIL_US))]
    store = OfflineStore(str(folder / "offline"))
    put(store, [Record(0, at, UNTIL_US // 1000, b"", value) for at, value in enumerate(events)])
    logged = [Record(0, at, NOW_US // 1000, b"", value) for at, (_, _, value) in enumerate(log.appended)]
    put(store, logged, topic=PREDICTIONS.name)
    settings = OutcomesSettings.load(offline_store=store.url, model_store="memory://none", publish=False)
    snapshot = take_snapshot(settings, folder)
    assert snapshot.prediction_count == len(asked)
    with duckdb.connect() as opened:
        open_predictions(opened, snapshot)
        join_outcomes(opened, snapshot, Outcome(request.param, 3600 * SECOND_US))
        yield opened


@pytest.mark.parametrize("name", CASES)
def test_wait_ends_with_the_next_purchase_that_the_prediction_was_not_made_at(
    connection: Any, name: str
) -> None:
    waits = connection.execute(
        "SELECT wait_us FROM scored WHERE user_id = ? ORDER BY timestamp_us, product_id", [name]
    ).fetchall()
    assert [None if us is None else us / SECOND_US for (us,) in waits] == CASES[name].waits


def test_conversion_does_not_count_the_purchases_that_a_user_entered_with(connection: Any) -> None:
    window = ExposureWindow(horizon_us=DAY_US, exposure_us=DAY_US, until_us=UNTIL_US)
    enter_users(connection, "0", [(0, UNTIL_US)], window, assigned=False)
    values = final_user_values(connection, window)
    users = dict(connection.execute("SELECT user_number, user_id FROM users").fetchall())
    converted = {users[at]: bool(c) for at, c in zip(values.numbers, values.converted, strict=True)}
    expected = {name: case.converted for name, case in CASES.items()}
    assert converted == expected
    [arm] = model_arms(connection)
    assert buyers(connection, arm, DAY_US, UNTIL_US) == (len(expected), sum(expected.values()))
