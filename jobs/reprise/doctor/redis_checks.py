"""Whether Redis answers and takes writes, and from whom."""

import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from reprise.doctor.check import Say, Seen
from reprise.doctor.exceptions import CheckFailedError, CheckSkippedError
from reprise.doctor.store import refuses_to_say
from reprise.store.exceptions import StoreError, StoreRefusedError

SECTION = "the-online-store-is-away"
FULL_SECTION = "redis-is-full"
USERS_SECTION = "redis-users-may-too-much-or-too-little"
ADVICE = (
    "see whether Redis runs, and whether address, user, password and network policy lead there (REDIS_HOST, "
    "REDIS_USERNAME, …); if its data is gone, rebuild it with `reprise backfill`"
)
USERS_ADVICE = "give each part's user the rules of docs/redis.md#users, on every node of a cluster"


class Probed(Protocol):
    """What these checks ask of the online store."""

    def primaries(self) -> list[str]:
        """Return the addresses of the servers that have the store."""
        ...

    def write_and_remove(self, prefix: str, primaries: int) -> None:
        """Write keys of these servers, and remove them."""
        ...

    def may_write(self, key: bytes) -> bool:
        """Try to write a key; return whether the user was allowed to."""
        ...

    def dry_run(self, user: str, command: Sequence[bytes]) -> list[str]:
        """Return the servers that would refuse a command of this user."""
        ...


Connect = Callable[[], AbstractContextManager[Probed]]


@dataclass(frozen=True, slots=True)
class RedisUser:
    """A user of Redis, and what is expected of it.

    Attributes:
        part: Whose user it is.
        name: Its name.
        connect: Connects as this user; ``None`` where the password is not known.
        allowed: Commands that it needs.
        refused: Commands that it must not have.
    """

    part: str
    name: str
    connect: Connect | None
    allowed: tuple[tuple[bytes, ...], ...] = ()
    refused: tuple[tuple[bytes, ...], ...] = ()

    @property
    def writes(self) -> bool:
        """Whether it has to be able to write."""
        return not self.refused


def materializer_user(name: str, connect: Connect | None, row: bytes, memory: bytes) -> RedisUser:
    """Return the user that folds: it writes rows, and remembers events."""
    allowed = (
        (b"HSET", row, b"f", b"v"),
        (b"EVAL", b"return 1", b"1", row),
        (b"SET", memory, b"", b"NX", b"GET", b"PX", b"1"),
    )
    return RedisUser("the materializer", name, connect, allowed)


def predictor_user(name: str, connect: Connect | None, row: bytes, memory: bytes) -> RedisUser:
    """Return the user that answers: it reads rows, and changes nothing."""
    refused = (
        (b"HSET", row, b"f", b"v"),
        (b"HDEL", row, b"f"),
        (b"DEL", row),
        (b"SET", memory, b""),
        (b"EVAL", b"return 1", b"1", row),
    )
    return RedisUser("the predictor", name, connect, ((b"HMGET", row, b"f"),), refused)


def look_at_redis(store: Probed, address: str, project: str, say: Say) -> Seen:
    """Have every primary answer, and take a write.

    Raises:
        CheckFailedError: One does not.
    """
    say(f"asking {address}")
    try:
        primaries = store.primaries()
        store.write_and_remove(f"reprise-doctor:{project}:", len(primaries))
    except StoreError as error:
        section, advice = SECTION, ADVICE
        if "OOM" in error.reason:
            section, advice = FULL_SECTION, "Redis is full: raise its maxmemory (redis.maxMemory)"
        raise CheckFailedError(str(error), advice, section) from error
    return Seen(f"{address} answers and takes writes, primaries: {len(primaries)}")


def look_at_redis_users(store: Probed, users: Sequence[RedisUser], project: str, say: Say) -> Seen:
    """See that who folds may write and who answers may not.

    A user whose password is known is tried, with a key that is gone after a second; of another, Redis is asked.

    Raises:
        CheckFailedError: One may too much, or too little.
        CheckSkippedError: No user is named, or Redis does not tell.
    """
    if not users:
        raise CheckSkippedError(
            "no users of parts are named (DOCTOR_MATERIALIZER_REDIS_USERNAME, DOCTOR_PREDICTOR_REDIS_USERNAME): where "
            "all share one, whoever reaches Redis may write"
        )
    problems, found = [], []
    for user in users:
        say(f"asking what {user.name} may do")
        try:
            problems += _tried(user, project) if user.connect else _asked(store, user)
        except StoreRefusedError as error:
            if user.connect is None and refuses_to_say(error):
                raise CheckSkippedError(
                    f"Redis does not tell what {user.name} may do ({error.reason}): it needs Redis 7 and the right "
                    "+acl|dryrun, or that user's password"
                ) from error
            problems.append(f"{user.part}'s user {user.name}: {error.reason}")
        except StoreError as error:
            raise CheckFailedError(str(error), ADVICE, SECTION) from error
        how = "tried" if user.connect else "as Redis says"
        found.append(f"{user.name} {'may write' if user.writes else 'may read and not write'} ({how})")
    if problems:
        raise CheckFailedError("; ".join(problems), USERS_ADVICE, USERS_SECTION)
    return Seen("; ".join(found))


def _asked(store: Probed, user: RedisUser) -> list[str]:
    problems = []
    for command in user.allowed:
        if refusals := store.dry_run(user.name, command):
            problems.append(f"{user.part}'s user {user.name} needs {_named(command)}: {'; '.join(refusals)}")
    servers = len(store.primaries())
    for command in user.refused:
        if len(store.dry_run(user.name, command)) < servers:
            problems.append(f"{user.part}'s user {user.name} may {_named(command)}, and must not")
    return problems


def _tried(user: RedisUser, project: str) -> list[str]:
    assert user.connect is not None
    key = f"seen:{project}:reprise-doctor-{uuid.uuid4().hex}".encode()
    with user.connect() as store:
        may = store.may_write(key)
    if may == user.writes:
        return []
    problem = "may write, and must not" if may else "may not write, and has to"
    return [f"{user.part}'s user {user.name} {problem}"]


def _named(command: Sequence[bytes]) -> str:
    return command[0].decode()
