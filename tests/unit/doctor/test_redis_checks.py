import pytest

from reprise.doctor.check import CheckFailedError, CheckSkippedError
from reprise.doctor.checks.redis import (
    RedisUser,
    check_redis,
    check_redis_users,
    materializer_user,
    predictor_user,
)
from reprise.store.exceptions import StoreRefusedError, StoreUnavailableError
from support.fake_doctor_store import FakeDoctorStore

WRITES = {b"HSET", b"HDEL", b"DEL", b"SET", b"EVAL"}


def say(_: str) -> None: ...


@pytest.fixture
def store() -> FakeDoctorStore:
    made = FakeDoctorStore()
    made.refused = {"reader": set(WRITES)}
    return made


def folds(name: str = "writer", connect: object = None) -> RedisUser:
    return materializer_user(name, connect, b"row", b"memory")  # type: ignore[arg-type]


def answers(name: str = "reader", connect: object = None) -> RedisUser:
    return predictor_user(name, connect, b"row", b"memory")  # type: ignore[arg-type]


def test_every_primary_answers_and_is_written_to(store: FakeDoctorStore) -> None:
    assert "primaries: 2" in check_redis(store, "redis://r", "shop", say).text
    assert store.written == ["reprise-doctor:shop:×2"]


@pytest.mark.parametrize(
    ("failure", "section"),
    [
        (StoreUnavailableError("ping", "no answer in time"), "the-online-store-is-away"),
        (StoreRefusedError("ping", "WRONGPASS invalid username"), "the-online-store-is-away"),
        (StoreRefusedError("write", "OOM command not allowed"), "redis-is-full"),
    ],
)
def test_a_store_that_is_away_or_refuses_fails_with_the_fitting_section(
    store: FakeDoctorStore, failure: StoreUnavailableError, section: str
) -> None:
    store.failure = failure
    with pytest.raises(CheckFailedError, match=failure.reason.split(maxsplit=1)[0]) as failed:
        check_redis(store, "redis://r", "shop", say)
    assert failed.value.remedy.section == section
    assert failed.value.remedy.advice


def test_users_with_the_rights_that_they_should_have_are_well(store: FakeDoctorStore) -> None:
    seen = check_redis_users(store, [folds(), answers()], "shop", say)
    assert seen.text == "writer may write (as Redis says); reader may read and not write (as Redis says)"


def test_a_predictor_that_may_write_fails(store: FakeDoctorStore) -> None:
    store.refused["reader"].discard(b"HSET")
    with pytest.raises(
        CheckFailedError, match="the predictor's user reader may HSET, and must not"
    ) as failed:
        check_redis_users(store, [folds(), answers()], "shop", say)
    assert "docs/redis.md#users" in failed.value.remedy.advice


def test_a_predictor_that_may_write_on_one_node_of_a_cluster_fails(store: FakeDoctorStore) -> None:
    store.refusing_servers = 1
    with pytest.raises(CheckFailedError, match="may HSET, and must not"):
        check_redis_users(store, [answers()], "shop", say)


def test_a_materializer_that_may_not_write_fails_with_what_it_lacks(store: FakeDoctorStore) -> None:
    store.refused["writer"] = {b"EVAL"}
    with pytest.raises(CheckFailedError, match="the materializer's user writer needs EVAL: one:6379"):
        check_redis_users(store, [folds()], "shop", say)


@pytest.mark.parametrize(("writable", "user"), [(False, folds), (True, answers)])
def test_a_user_whose_password_is_known_is_tried(
    store: FakeDoctorStore, writable: bool, user: object
) -> None:
    own = FakeDoctorStore()
    own.writable = writable
    with pytest.raises(CheckFailedError, match=r"may write, and must not|may not write, and must"):
        check_redis_users(store, [user(connect=lambda: own)], "shop", say)  # type: ignore[operator]
    own.writable = not writable
    assert "(tried)" in check_redis_users(store, [user(connect=lambda: own)], "shop", say).text  # type: ignore[operator]


def test_a_password_that_is_wrong_fails(store: FakeDoctorStore) -> None:
    own = FakeDoctorStore()
    own.failure = StoreRefusedError("connect", "WRONGPASS invalid username-password pair")
    with pytest.raises(CheckFailedError, match="the predictor's user reader: WRONGPASS"):
        check_redis_users(store, [answers(connect=lambda: own)], "shop", say)


def test_without_users_there_is_nothing_to_tell_apart(store: FakeDoctorStore) -> None:
    with pytest.raises(CheckSkippedError, match="DOCTOR_MATERIALIZER_REDIS_USERNAME"):
        check_redis_users(store, [], "shop", say)


@pytest.mark.parametrize(
    "reason", ["NOPERM User doctor has no permissions", "ERR unknown subcommand 'DRYRUN'"]
)
def test_a_redis_that_does_not_tell_is_skipped_with_what_it_would_take(
    store: FakeDoctorStore, reason: str
) -> None:
    store.dry_run_failure = StoreRefusedError("ask", reason)
    with pytest.raises(CheckSkippedError, match=r"acl\|dryrun, or that user's password"):
        check_redis_users(store, [folds()], "shop", say)


def test_a_user_that_is_not_there_fails(store: FakeDoctorStore) -> None:
    store.dry_run_failure = StoreRefusedError("ask", "ERR User 'writer' not found")
    with pytest.raises(CheckFailedError, match="User 'writer' not found"):
        check_redis_users(store, [folds()], "shop", say)
