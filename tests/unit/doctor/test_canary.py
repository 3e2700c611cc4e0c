from functools import partial
from typing import Any

import httpx
import pytest

from reprise.doctor.check import CheckFailedError, Observation
from reprise.doctor.checks.canary import Canary, check_canary, send_to_log, send_to_producer
from reprise.doctor.checks.services import Predictor, Service
from reprise.events import decode_event, is_canary
from reprise.log import EVENTS, LogUnavailableError
from reprise.store.exceptions import StoreRefusedError
from support.fake_doctor_store import FakeDoctorStore
from support.fake_log import FakeLogProducer
from support.fake_services import FakePlatform
from support.plans import checked_in_plan

PLAN = checked_in_plan()
NOW_US = 1_780_000_000_000_000


@pytest.fixture
def platform() -> FakePlatform:
    return FakePlatform()


@pytest.fixture
def store() -> FakeDoctorStore:
    return FakeDoctorStore()


def follow(platform: FakePlatform, store: FakeDoctorStore, seconds: float = 5.0) -> Observation:
    send = partial(send_to_producer, Service("the producer", platform.client()))
    return check_canary(send, Predictor(platform.client()), store, PLAN, "shop", seconds, lambda _: None)


def test_an_event_of_new_ids_is_followed_to_a_prediction_and_its_rows_are_removed(
    platform: FakePlatform, store: FakeDoctorStore
) -> None:
    platform.looks = 3
    seen = follow(platform, store)
    [event] = platform.events
    assert is_canary(event["user_id"])
    assert is_canary(event["product_id"])
    assert (event["event_type"], event["amount"]) == ("view", None)
    assert seen.measured["probability"] == 0.25
    assert seen.measured["freshness_seconds"] > 0
    assert "3 rows removed from Redis, the event stays in the log" in seen.text
    canary = Canary(event["user_id"], event["product_id"], event["event_id"])
    assert store.removed == canary.keys(PLAN, "shop")
    assert all(b"reprise-doctor-" in key and key.endswith(b"shop") for key in store.removed)
    follow(platform, store)
    assert (
        len({event[name] for event in platform.events for name in ("event_id", "user_id", "product_id")}) == 6
    )


def test_rows_that_may_not_be_removed_are_told_of(platform: FakePlatform, store: FakeDoctorStore) -> None:
    store.failure = StoreRefusedError("remove", "NOPERM no permissions")
    assert "its 3 rows stay in Redis (NOPERM no permissions)" in follow(platform, store).text


STALE, NO_LOG = "features-are-stale", "the-log-is-away"
UNAVAILABLE = httpx.Response(503, json={"title": "The service is unavailable", "detail": "no answer"})


@pytest.mark.parametrize(
    ("fault", "found", "section", "removed"),
    [
        ({"looks": None}, "GET /features does not: the user and the pair", STALE, 3),
        ({"_features": lambda _: UNAVAILABLE}, "503 The service is unavailable: no answer", STALE, 3),
        ({"known": False}, "/predict does not know the user", STALE, 3),
        ({"answers": {"/events": UNAVAILABLE}}, "503 The service is unavailable", NO_LOG, 0),
    ],
    ids=["never folded", "features cannot be read", "predictor does not know the user", "producer refuses"],
)
def test_a_fault_is_found_with_its_remedy_and_rows_of_a_sent_event_are_removed(
    platform: FakePlatform,
    store: FakeDoctorStore,
    fault: dict[str, Any],
    found: str,
    section: str,
    removed: int,
) -> None:
    vars(platform).update(fault)
    with pytest.raises(CheckFailedError) as failed:
        follow(platform, store, 0.1)
    assert found in failed.value.found
    assert failed.value.remedy.section == section
    assert len(store.removed) == removed
    assert all(event["user_id"] in failed.value.found for event in platform.events)


def test_without_a_producer_the_event_goes_to_the_log() -> None:
    log = FakeLogProducer()
    event = Canary().event(PLAN, NOW_US)
    send_to_log(lambda: log, 5.0, event)
    [(topic, key, value)] = log.appended
    assert (topic, key, decode_event(value)) == (EVENTS.name, event.user_id.encode(), event)


def test_a_log_that_does_not_take_the_event_fails() -> None:
    log = FakeLogProducer()
    log.failure = lambda _: LogUnavailableError("no broker answers")
    with pytest.raises(CheckFailedError, match="no broker answers"):
        send_to_log(lambda: log, 5.0, Canary().event(PLAN, 1))
