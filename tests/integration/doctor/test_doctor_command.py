"""The whole command against a whole platform: all is well, and each fault is found by the check that is about it."""

import re
from collections.abc import Iterator

import pytest
from redis import Redis

from reprise.bundle import BundleStore
from reprise.events import CANARY_PREFIX
from reprise.routing import RoutingDocument, allocate, document_key
from support.predictor import published
from support.redis import running_redis
from support.served_bundles import bundle_files
from support.small_platform import PASSWORD, PROJECT, Examined, SmallPlatform, small_platform
from support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.slow]

ALL = (
    *("log", "topics", "redis", "redis-users", "feast", "model"),
    *("producer", "predictor", "served-model", "canary"),
)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallPlatform]:
    with running_redis() as redis, small_platform(tmp_path_factory.mktemp("platform"), redis) as running:
        yield running


@pytest.fixture
def client(platform: SmallPlatform) -> Iterator[Redis]:
    with platform.redis.client() as connected:
        yield connected


def canaries(client: Redis) -> list[bytes]:
    return [key for key in client.scan_iter() if b"reprise-doctor" in key]


def assert_only(examined: Examined, name: str, *words: str, section: str) -> None:
    """Assert that this check failed and no other, with these words and this advice."""
    assert (examined.failed, examined.status) == ([name], 1), examined.output + examined.errors
    check = examined.checks[name]
    for word in words:
        assert word in check["seen"] + check["advice"]
    assert check["runbook"] == f"docs/operations.md#{section}"


def test_a_platform_that_works_is_well_and_nothing_of_the_canary_stays_in_redis(
    platform: SmallPlatform, client: Redis
) -> None:
    examined = platform.examine("--json")
    assert examined.status == 0, examined.output + examined.errors
    statuses = {name: check["status"] for name, check in examined.checks.items()}
    assert statuses == {name: "skipped" if name == "feast" else "ok" for name in ALL}
    measured = examined.checks["canary"]["measured"]
    assert 0 < measured["freshness_seconds"] < 10
    assert 0 <= measured["probability"] <= 1
    assert "3 rows removed" in examined.checks["canary"]["seen"]
    assert canaries(client) == []
    assert "canary: waiting" in examined.errors or "canary: sending" in examined.errors


def test_the_same_for_people_has_a_line_for_each_check(platform: SmallPlatform) -> None:
    examined = platform.examine("--skip", "feast", REPRISE_PROGRESS="off")
    assert (examined.status, examined.errors) == (0, "")
    lines = [line.split()[:2] for line in examined.output.splitlines()]
    assert [line for line in lines if line[0] in ALL] == [[name, "ok"] for name in ALL if name != "feast"]
    assert re.search(r"event → readable feature in [\d,]+ ms, predicted 0\.\d+", examined.output)
    assert CANARY_PREFIX in examined.output


def test_without_a_producer_the_canary_goes_to_the_log(platform: SmallPlatform) -> None:
    examined = platform.examine("--json", DOCTOR_PRODUCER_URL="")
    assert examined.status == 0, examined.output
    assert examined.checks["producer"]["status"] == "skipped"
    assert examined.checks["canary"]["status"] == "ok"


@pytest.mark.soak
def test_passwords_of_the_parts_are_tried(platform: SmallPlatform, client: Redis) -> None:
    passwords = {"DOCTOR_MATERIALIZER_REDIS_PASSWORD": PASSWORD, "DOCTOR_PREDICTOR_REDIS_PASSWORD": PASSWORD}
    examined = platform.examine("--json", "--only", "redis-users", **passwords)
    assert examined.checks["redis-users"]["seen"].count("(tried)") == 2
    assert examined.status == 0
    wrong = platform.examine("--json", "--only", "redis-users", DOCTOR_PREDICTOR_REDIS_PASSWORD="wrong")
    assert_only(wrong, "redis-users", "WRONGPASS", section="redis-users-have-wrong-rights")
    assert "wrong" not in wrong.output.replace("WRONGPASS", "")


def test_redis_stopped(platform: SmallPlatform) -> None:
    platform.redis.stop()
    try:
        platform.wait_until_unready("predictor")
        examined = platform.examine("--json", "--skip", "redis-users")
    finally:
        platform.redis.start()
        platform.make_users()
        platform.wait_until_ready("predictor")
        platform.wait_until_ready("materializer")
    assert_only(examined, "redis", "REDIS_HOST", "reprise backfill", section="the-online-store-is-away")
    assert examined.checks["predictor"]["seen"].startswith("follows from redis")
    assert examined.checks["canary"]["seen"] == "needs redis, predictor, see there"
    assert examined.checks["model"]["status"] == "ok"


@pytest.mark.soak
def test_materializer_stopped(platform: SmallPlatform, client: Redis) -> None:
    platform.tree.stop("materializer")
    try:
        examined = platform.examine("--json", DOCTOR_CANARY_SECONDS="1")
    finally:
        platform.start("materializer")
    assert_only(examined, "canary", "materializers", "not known yet", section="features-are-stale")
    # As it has said: the rows come once the event is folded.
    wait_until("the canary is folded", lambda: len(canaries(client)) == 3, 20, every=0.02)
    client.delete(*canaries(client))


@pytest.mark.parametrize("service", ["predictor", pytest.param("producer", marks=pytest.mark.soak)])
def test_service_stopped(platform: SmallPlatform, service: str) -> None:
    platform.tree.stop(service)
    try:
        examined = platform.examine("--json")
    finally:
        platform.start(service)
    assert_only(examined, service, "refused", section="a-service-is-not-ready")


def test_model_that_the_predictor_refuses(platform: SmallPlatform) -> None:
    store = BundleStore(str(platform.models))
    before = store.latest()
    published(platform.models, bundle_files(graph=b"no graph at all"))
    try:
        examined = platform.examine("--json")
    finally:
        store.set_latest(before)
    assert_only(examined, "served-model", "refused", section="a-model-is-refused")
    assert examined.checks["canary"]["status"] == "ok"


@pytest.mark.soak
def test_the_model_of_a_rollout_is_expected_before_the_latest(platform: SmallPlatform, client: Redis) -> None:
    store = BundleStore(str(platform.models))
    before, other = store.latest(), store.publish(bundle_files(bias=1.0))
    document = RoutingDocument(generation=1, rollout="reprise/trial", salt="s", arms=allocate(other, (), {}))
    client.set(document_key(PROJECT), document.to_bytes())
    try:
        examined = platform.examine("--json", "--skip", "canary")
    finally:
        released = RoutingDocument(generation=2, rollout="reprise/trial", salt="s", arms=())
        client.set(document_key(PROJECT), released.to_bytes())
    assert examined.status == 0, examined.output
    assert other[:19] in examined.checks["served-model"]["seen"]
    assert "the rollout reprise/trial says" in examined.checks["served-model"]["seen"]
    after = platform.examine("--json", "--only", "served-model")
    assert before[:19] in after.checks["served-model"]["seen"]


def test_configuration_that_is_wrong_ends_the_command_with_the_reason(platform: SmallPlatform) -> None:
    examined = platform.examine(DOCTOR_PREDICTOR_URL="localhost:8000", DOCTOR_CANRY_SECONDS="3")
    assert examined.status == 1
    assert "DOCTOR_PREDICTOR_URL" in examined.errors
    assert "did you mean DOCTOR_CANARY_SECONDS?" in examined.errors
    assert "Traceback" not in examined.errors
