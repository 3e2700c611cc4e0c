import httpx
import pytest

from reprise.doctor.check import CheckFailedError, CheckSkippedError
from reprise.doctor.checks.services import Predictor, Service, check_producer
from reprise.doctor.installation import http_clients
from reprise.doctor.settings import DoctorSettings
from support.fake_services import FakePlatform


@pytest.fixture
def platform() -> FakePlatform:
    return FakePlatform()


def test_a_service_that_is_ready_is_well(platform: FakePlatform) -> None:
    assert "is ready" in Predictor(platform.client()).check_ready().text
    assert "is ready" in check_producer(Service("the producer", platform.client())).text


def test_a_service_that_is_not_ready_fails_with_its_reasons(platform: FakePlatform) -> None:
    platform.ready = httpx.Response(
        503, json={"title": "The service is not ready", "detail": "no model is loaded"}
    )
    with pytest.raises(
        CheckFailedError, match=r"the predictor is not ready: 503 .*: no model is loaded"
    ) as failed:
        Predictor(platform.client()).check_ready()
    assert failed.value.remedy.section == "a-service-is-not-ready"


def test_a_service_that_is_not_there_fails(platform: FakePlatform) -> None:
    platform.failure = httpx.ConnectError("Connection refused")
    with pytest.raises(
        CheckFailedError, match="the predictor at http://reprise: Connection refused"
    ) as failed:
        Predictor(platform.client()).check_ready()
    assert "network policy" in failed.value.remedy.advice


def test_a_producer_that_is_not_named_is_skipped() -> None:
    with pytest.raises(CheckSkippedError, match="DOCTOR_PRODUCER_URL"):
        check_producer(None)


def test_an_answer_that_asks_for_a_key_says_how_to_give_one(platform: FakePlatform) -> None:
    platform.answers["/model/info"] = httpx.Response(401, json={"title": "An API key is needed"})
    with pytest.raises(CheckFailedError, match="401 An API key is needed") as failed:
        Predictor(platform.client()).model_info()
    assert "DOCTOR_API_KEY" in failed.value.remedy.advice


@pytest.mark.parametrize(
    ("keys", "sent"),
    [
        ({"api_key": "s3cret"}, ["Bearer s3cret", None]),
        ({"api_key": "s3cret", "producer_api_key": "other"}, ["Bearer s3cret", "Bearer other"]),
    ],
)
def test_a_key_goes_to_its_service_and_to_nobody_else(keys: dict[str, str], sent: list[str | None]) -> None:
    clients = http_clients(DoctorSettings.load(producer_url="http://producer", **keys))
    assert [client and client.headers.get("authorization") for client in clients] == sent
