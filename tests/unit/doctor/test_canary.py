from functools import partial

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


def failure(platform: FakePlatform, store: FakeDoctorStore, seconds: float = 5.0) -> CheckFailedError:
    with pytest.raises(CheckFailedError) as failed:
        follow(platform, store, seconds)
    return failed.value


def test_an_event_is_followed_to_a_prediction_and_its_rows_are_removed(
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


def test_no_two_canaries_are_the_same(platform: FakePlatform, store: FakeDoctorStore) -> None:
    follow(platform, store)
    follow(platform, store)
    ids = {event[name] for event in platform.events for name in ("event_id", "user_id", "product_id")}
    assert len(ids) == 6


def test_rows_that_may_not_be_removed_are_told_of(platform: FakePlatform, store: FakeDoctorStore) -> None:
    store.failure = StoreRefusedError("remove", "NOPERM no permissions")
    assert "its 3 rows stay in Redis (NOPERM no permissions)" in follow(platform, store).text


def test_an_event_that_is_not_folded_fails_and_names_the_materializer(
    platform: FakePlatform, store: FakeDoctorStore
) -> None:
    platform.looks = None
    failed = failure(platform, store, 0.1)
    assert "GET /features" in failed.found
    assert platform.events[0]["user_id"] in failed.found
    assert "materializers" in failed.remedy.advice
    assert failed.remedy.section == "features-are-stale"
    assert len(store.removed) == 3


def test_features_that_cannot_be_read_fail_with_the_answer(
    platform: FakePlatform, store: FakeDoctorStore
) -> None:
    problem = {"title": "The online store is unavailable", "detail": "no answer"}

    class Broken(FakePlatform):
        def _features(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(503, json=problem)

    failed = failure(Broken(), store, 0.1)
    assert "503 The online store is unavailable: no answer" in failed.found


def test_a_user_whom_predict_does_not_know_fails(platform: FakePlatform, store: FakeDoctorStore) -> None:
    platform.known = False
    assert "/predict does not know the user" in failure(platform, store).found


def test_a_producer_that_refuses_fails_before_anything_is_left_behind(
    platform: FakePlatform, store: FakeDoctorStore
) -> None:
    platform.answers["/events"] = httpx.Response(503, json={"title": "The event log does not take events"})
    failed = failure(platform, store)
    assert "503 The event log does not take events" in failed.found
    assert failed.remedy.section == "the-log-is-away"
    assert store.removed == []


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
