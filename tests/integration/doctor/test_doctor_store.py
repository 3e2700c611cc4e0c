"""What the doctor does with a real Redis, and with a real Redis Cluster."""

from collections.abc import Iterator

import pytest

from reprise.doctor.check import CheckFailedError
from reprise.doctor.checks.redis import check_redis, check_redis_users, materializer_user, predictor_user
from reprise.doctor.redis_probe import RedisProbe
from reprise.store.settings import OnlineStoreSettings
from support.redis import RedisServer
from support.redis_cluster import RedisCluster, command
from support.small_platform import PASSWORD, USERS

pytestmark = pytest.mark.redis

CLUSTER_RULES = ("+cluster|slots", "+asking")
ON_BOTH = pytest.mark.parametrize("servers", ["redis_server", "redis_cluster"], indirect=True)


def say(_: str) -> None: ...


@pytest.fixture
def servers(request: pytest.FixtureRequest) -> Iterator[list[RedisServer]]:
    """The primaries, with the users of the chart on every one."""
    found = request.getfixturevalue(request.param)
    servers = found.primaries() if isinstance(found, RedisCluster) else [found]
    rules = CLUSTER_RULES if isinstance(found, RedisCluster) else ()
    for server in servers:
        for name, own in USERS.items():
            command(server, "ACL", "SETUSER", name, "on", f">{PASSWORD}", "resetkeys", *own, *rules)
    yield servers
    for server in servers:
        command(server, "ACL", "DELUSER", *USERS)


def connected(servers: list[RedisServer]) -> RedisProbe:
    settings = OnlineStoreSettings(
        redis_host=servers[0].host,
        redis_port=servers[0].port,
        redis_type="redis" if len(servers) == 1 else "redis_cluster",
        redis_username="doctor",
        redis_password=PASSWORD,
    )
    return RedisProbe.connect(settings)


def keys(servers: list[RedisServer]) -> int:
    return sum(command(server, "DBSIZE") for server in servers)


def written(servers: list[RedisServer]) -> list[int]:
    """How often each server was sent a SET."""
    counts = []
    for server in servers:
        with server.client() as client:
            counts.append(client.info("commandstats").get("cmdstat_set", {"calls": 0})["calls"])
    return counts


@ON_BOTH
def test_every_primary_is_written_to_and_nothing_is_left(servers: list[RedisServer]) -> None:
    before = written(servers)
    with connected(servers) as store:
        assert len(store.primaries()) == len(servers)
        check_redis(store, "redis", "reprise", say)
    assert all(now > then for now, then in zip(written(servers), before, strict=True))
    assert keys(servers) == 0


@ON_BOTH
def test_a_full_primary_is_found(servers: list[RedisServer]) -> None:
    command(servers[-1], "CONFIG", "SET", "maxmemory", "1")
    try:
        with connected(servers) as store, pytest.raises(CheckFailedError, match="OOM") as failed:
            check_redis(store, "redis", "reprise", say)
    finally:
        command(servers[-1], "CONFIG", "SET", "maxmemory", "0")
    assert failed.value.remedy.section == "redis-is-full"


@ON_BOTH
def test_users_are_asked_for_on_every_node(servers: list[RedisServer]) -> None:
    users = [
        materializer_user("materializer", None, b"rowreprise", b"seen:reprise:x"),
        predictor_user("predictor", None, b"rowreprise", b"seen:reprise:x"),
    ]
    with connected(servers) as store:
        assert "may write" in check_redis_users(store, users, "reprise", say).text
        command(servers[-1], "ACL", "SETUSER", "predictor", "~*", "+del")
        with pytest.raises(CheckFailedError, match="predictor may DEL, and must not"):
            check_redis_users(store, users, "reprise", say)
        command(servers[-1], "ACL", "DELUSER", "materializer")
        with pytest.raises(CheckFailedError, match="'materializer' not found"):
            check_redis_users(store, users[:1], "reprise", say)


@ON_BOTH
def test_the_doctor_may_touch_nothing_but_its_own(servers: list[RedisServer]) -> None:
    own, row = b"reprise-doctor:reprise:x", b"user_id\x05\x00\x00\x00u-123reprise"
    canary = b"user_id\x15\x00\x00\x00reprise-doctor-user-1reprise"
    allowed = [
        ("SET", own, "", "PX", "1"),
        ("DEL", own),
        ("DEL", canary),
        ("GET", "routing:reprise:document"),
    ]
    refused = [
        ("DEL", row), ("SET", row, ""), ("HSET", row, "f", "v"), ("HMGET", row, "f"), ("HSET", canary, "f", "v"),
        ("SET", "routing:reprise:document", ""), ("GET", "routing:reprise:evidence"), ("KEYS", "*"), ("FLUSHALL",),
        ("ACL", "SETUSER", "doctor", "+@all"), ("ACL", "LIST"), ("CONFIG", "GET", "*"), ("EVAL", "return 1", "0"),
    ]  # fmt: skip
    for attempt in allowed:
        assert command(servers[0], "ACL", "DRYRUN", "doctor", *attempt) == b"OK", attempt
    for attempt in refused:
        assert command(servers[0], "ACL", "DRYRUN", "doctor", *attempt) != b"OK", attempt
