"""Whether Redis takes writes, and which users may write."""

import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from reprise.doctor.check import CheckFailedError, CheckSkippedError, Observation, Remedy, ReportProgress
from reprise.doctor.redis_probe import RedisProbe
from reprise.store.exceptions import StoreError, StoreRefusedError

UNREACHABLE = Remedy(
    "see whether Redis runs, and whether address, user, password and network policy allow access (REDIS_HOST, "
    "REDIS_USERNAME, …); if its data is gone, rebuild it with `reprise backfill`",
    "the-online-store-is-away",
)
FULL = Remedy("Redis is full: raise its maxmemory (redis.maxMemory)", "redis-is-full")
USERS = Remedy(
    "give each component's user the rules of docs/redis.md#users, on every node of a cluster",
    "redis-users-have-wrong-rights",
)


Connect = Callable[[], AbstractContextManager[RedisProbe]]


@dataclass(frozen=True, slots=True)
class RedisUser:
    """The Redis user of a component, and the commands that it must (``allowed``) and must not have (``refused``).

    ``connect`` connects as this user; None if its password is not known.
    """

    component: str
    name: str
    connect: Connect | None
    allowed: tuple[tuple[bytes, ...], ...] = ()
    refused: tuple[tuple[bytes, ...], ...] = ()

    @property
    def writes(self) -> bool:
        """Whether it must be able to write."""
        return not self.refused


def materializer_user(name: str, connect: Connect | None, row: bytes, claim: bytes) -> RedisUser:
    """Return the materializer's user: it writes rows and claims event ids."""
    allowed = (
        (b"HSET", row, b"f", b"v"),
        (b"EVAL", b"return 1", b"1", row),
        (b"SET", claim, b"", b"NX", b"GET", b"PX", b"1"),
        (b"SCAN", b"0"),
        (b"UNLINK", row),
    )
    return RedisUser("the materializer", name, connect, allowed)


def predictor_user(name: str, connect: Connect | None, row: bytes, claim: bytes) -> RedisUser:
    """Return the predictor's user: it reads rows and writes nothing."""
    refused = (
        (b"HSET", row, b"f", b"v"),
        (b"HDEL", row, b"f"),
        (b"DEL", row),
        (b"SET", claim, b""),
        (b"EVAL", b"return 1", b"1", row),
    )
    return RedisUser("the predictor", name, connect, ((b"HMGET", row, b"f"),), refused)


def check_redis(store: RedisProbe, address: str, project: str, report: ReportProgress) -> Observation:
    """Ping every primary, and write to it."""
    report(f"connecting to {address}")
    try:
        primaries = store.primaries()
        store.write_and_remove(f"reprise-doctor:{project}:", len(primaries))
    except StoreError as error:
        raise CheckFailedError(str(error), FULL if "OOM" in error.reason else UNREACHABLE) from error
    return Observation(f"{address} answers and takes writes, primaries: {len(primaries)}")


def check_redis_users(
    store: RedisProbe, users: Sequence[RedisUser], project: str, report: ReportProgress
) -> Observation:
    """See whether the materializer's user may write and the predictor's may not.

    A user whose password is known writes a key that expires after a second; for another, ``ACL DRYRUN`` is asked.
    """
    if not users:
        raise CheckSkippedError(
            "no Redis users are configured (DOCTOR_MATERIALIZER_REDIS_USERNAME, DOCTOR_PREDICTOR_REDIS_USERNAME): if "
            "all components share one, whoever reaches Redis may write"
        )
    problems, found = [], []
    for user in users:
        report(f"asking what {user.name} may do")
        try:
            problems += _try_write(user, project) if user.connect else _dry_run(store, user)
        except StoreRefusedError as error:
            cannot_ask = "NOPERM" in error.reason or "unknown subcommand" in error.reason.lower()
            if user.connect is None and cannot_ask:
                raise CheckSkippedError(
                    f"Redis does not say what {user.name} may do ({error.reason}): that takes Redis 7 and the right "
                    "+acl|dryrun, or that user's password"
                ) from error
            problems.append(f"{user.component}'s user {user.name}: {error.reason}")
        except StoreError as error:
            raise CheckFailedError(str(error), UNREACHABLE) from error
        how = "tried" if user.connect else "as Redis says"
        found.append(f"{user.name} {'may write' if user.writes else 'may read and not write'} ({how})")
    if problems:
        raise CheckFailedError("; ".join(problems), USERS)
    return Observation("; ".join(found))


def _dry_run(store: RedisProbe, user: RedisUser) -> list[str]:
    problems, subject = [], f"{user.component}'s user {user.name}"
    for command in user.allowed:
        if refusals := store.dry_run(user.name, command):
            problems.append(f"{subject} needs {command[0].decode()}: {'; '.join(refusals)}")
    servers = len(store.primaries())
    problems += [
        f"{subject} may {command[0].decode()}, and must not"
        for command in user.refused
        if len(store.dry_run(user.name, command)) < servers
    ]
    return problems


def _try_write(user: RedisUser, project: str) -> list[str]:
    assert user.connect is not None
    with user.connect() as store:
        may = store.may_write(f"seen:{project}:reprise-doctor-{uuid.uuid4().hex}".encode())
    problem = "may write, and must not" if may else "may not write, and must"
    return [] if may == user.writes else [f"{user.component}'s user {user.name} {problem}"]
