"""What differs from the real servers of ``tests/integration/doctor/test_doctor_store.py``."""

from collections.abc import Callable
from functools import partial

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

MakeUser = Callable[..., RedisUser]
MATERIALIZER = partial(materializer_user, "writer", row=b"row", claim=b"memory")
PREDICTOR = partial(predictor_user, "reader", row=b"row", claim=b"memory")


def say(_: str) -> None: ...


@pytest.fixture
def store() -> FakeDoctorStore:
    return FakeDoctorStore()


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


def test_a_materializer_that_may_not_write_fails_with_what_it_lacks(store: FakeDoctorStore) -> None:
    store.refused["writer"] = {b"EVAL"}
    with pytest.raises(CheckFailedError, match="the materializer's user writer needs EVAL: one:6379"):
        check_redis_users(store, [MATERIALIZER(connect=None)], "shop", say)


@pytest.mark.parametrize(
    ("user", "writes", "refusal"),
    [(MATERIALIZER, True, "may not write, and must"), (PREDICTOR, False, "may write, and must not")],
)
def test_a_user_whose_password_is_known_is_tried(
    store: FakeDoctorStore, user: MakeUser, writes: bool, refusal: str
) -> None:
    own = FakeDoctorStore()
    users = [user(connect=lambda: own)]
    own.writable = writes
    assert "(tried)" in check_redis_users(store, users, "shop", say).text
    own.writable = not writes
    with pytest.raises(CheckFailedError, match=refusal):
        check_redis_users(store, users, "shop", say)
    own.failure = StoreRefusedError("connect", "WRONGPASS invalid username-password pair")
    with pytest.raises(CheckFailedError, match=f"{users[0].component}'s user {users[0].name}: WRONGPASS"):
        check_redis_users(store, users, "shop", say)


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
        check_redis_users(store, [MATERIALIZER(connect=None)], "shop", say)
