from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from redis import Redis

from reprise.store.exceptions import (
    CorruptRowError,
    StoreRefusedError,
    StoreUnavailableError,
    UnencodableStateError,
)
from reprise.store.online_store import GuardedWrite, OnlineStore, StoredRow
from reprise.store.settings import OnlineStoreSettings
from reprise.store.watermarks import Watermarks
from support.embedded_redis import Address
from support.redis import RedisServer, fail_to_save, free_port, running_redis
from support.rows import EMPTY, PAIR_CODEC, PRODUCT_CODEC, STATE, USER_CODEC

TOPIC = bytes(range(16))
HOUR = timedelta(hours=1)


@pytest.fixture
def store(settings: OnlineStoreSettings) -> Iterator[OnlineStore]:
    with OnlineStore.connect(settings) as store:
        yield store


@pytest.fixture
def client(redis_address: Address) -> Iterator[Redis]:
    with redis_address.client() as client:
        yield client


def write(expected: bytes | None, watermarks: bytes, user: str = "u", purchases: int = 3) -> GuardedWrite:
    key = USER_CODEC.key(user)
    return GuardedWrite(USER_CODEC, key, expected, [purchases, *STATE[1:]], watermarks, 1_000_000)


def test_rows_of_several_views_are_read_in_the_order_asked_for(store: OnlineStore) -> None:
    rows = [
        (USER_CODEC, USER_CODEC.key("u")),
        (PRODUCT_CODEC, PRODUCT_CODEC.key("p")),
        (PAIR_CODEC, PAIR_CODEC.key("u", "p")),
    ]
    writes = [
        GuardedWrite(codec, key, None, [position, *STATE[1:]], b"w%d" % position, position)
        for position, (codec, key) in enumerate(rows)
    ]
    assert store.write_guarded(writes) == [True, True, True]
    read = store.read([rows[2], rows[0], (USER_CODEC, USER_CODEC.key("nobody")), rows[1]])
    stored = [StoredRow([position, *STATE[1:]], b"w%d" % position, position) for position in range(3)]
    assert read == [stored[2], stored[0], StoredRow(EMPTY, None, None), stored[1]]
    assert [row.exists for row in read] == [True, True, False, True]


def test_nothing_asked_for_is_nothing_done(store: OnlineStore) -> None:
    assert store.read([]) == []
    assert store.write_guarded([]) == []
    assert store.claim_event_ids([], HOUR) == []


def test_a_write_against_other_watermarks_changes_nothing(store: OnlineStore) -> None:
    assert store.write_guarded([write(None, b"first")]) == [True]
    before = store.read([(USER_CODEC, USER_CODEC.key("u"))])
    assert store.write_guarded([write(None, b"second", purchases=9)]) == [False]
    assert store.write_guarded([write(b"zeroth", b"second", purchases=9)]) == [False]
    assert store.read([(USER_CODEC, USER_CODEC.key("u"))]) == before
    assert store.write_guarded([write(b"first", b"second", purchases=9)]) == [True]


def test_the_writes_of_one_call_stand_each_for_itself(store: OnlineStore) -> None:
    store.write_guarded([write(None, b"w", user="taken")])
    writes = [write(None, b"x", user="a"), write(None, b"x", user="taken"), write(None, b"x", user="b")]
    assert store.write_guarded(writes) == [True, False, True]


def test_a_null_replaces_a_number(store: OnlineStore) -> None:
    store.write_guarded([write(None, b"1")])
    store.write_guarded([GuardedWrite(USER_CODEC, USER_CODEC.key("u"), b"1", EMPTY, b"2", 5)])
    assert store.read([(USER_CODEC, USER_CODEC.key("u"))]) == [StoredRow(EMPTY, b"2", 5)]


def test_a_state_that_does_not_fit_writes_nothing_at_all(store: OnlineStore, client: Redis) -> None:
    bad = GuardedWrite(USER_CODEC, USER_CODEC.key("b"), None, [1.5, 1.0, 1, 1.0], b"w", 1)
    with pytest.raises(UnencodableStateError, match=r"user_state\.purchases"):
        store.write_guarded([write(None, b"w"), bad])
    assert client.dbsize() == 0


def test_a_script_that_the_server_forgot_is_sent_again(
    store: OnlineStore, client: Redis, redis_address: Address
) -> None:
    if redis_address.embedded:
        pytest.skip("the embedded server hangs up after an error, and never forgets a script")
    assert store.write_guarded([write(None, b"1")]) == [True]
    client.script_flush()
    writes = [write(b"1", b"2"), write(None, b"1", user="v"), write(b"never", b"x", user="w")]
    assert store.write_guarded(writes) == [True, True, False]
    assert client.dbsize() == 2


def test_writers_of_the_same_row_lose_no_update(store: OnlineStore, settings: OnlineStoreSettings) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda writer: count_up(settings, writer, 50), range(4)))
    (row,) = store.read([(USER_CODEC, USER_CODEC.key("shared"))])
    assert row.state[0] == 4 * 50
    assert Watermarks.parse(row.watermarks, TOPIC).offsets == dict.fromkeys(range(4), 49)


def count_up(settings: OnlineStoreSettings, writer: int, times: int) -> None:
    """Add one to a row's first field, as often as told, against other writers."""
    key = USER_CODEC.key("shared")
    with OnlineStore.connect(settings) as store:
        for offset in range(times):
            written = False
            while not written:
                (row,) = store.read([(USER_CODEC, key)])
                count = row.state[0] or 0
                watermarks = Watermarks.parse(row.watermarks, TOPIC).advance({writer: offset})
                state = [int(count) + 1, 1.0, 1, 1.0]
                guarded = GuardedWrite(USER_CODEC, key, row.watermarks, state, watermarks.to_bytes(), 1)
                (written,) = store.write_guarded([guarded])


def test_an_event_is_remembered_by_its_first_position(store: OnlineStore) -> None:
    assert store.claim_event_ids([("a", b"1"), ("b", b"2"), ("a", b"3")], HOUR) == [b"1", b"2", b"1"]
    assert store.claim_event_ids([("b", b"9"), ("c", b"4"), ("a", b"1")], HOUR) == [b"2", b"4", b"1"]


def test_an_event_is_forgotten_after_its_time(store: OnlineStore) -> None:
    brief = timedelta(milliseconds=500)
    store.claim_event_ids([("a", b"1")], brief)
    time.sleep(0.1)
    assert store.claim_event_ids([("a", b"2")], brief) == [b"1"]  # being seen again does not prolong it
    time.sleep(0.5)
    assert store.claim_event_ids([("a", b"3")], brief) == [b"3"]


def test_the_projects_of_one_server_remember_apart(settings: OnlineStoreSettings) -> None:
    other = settings.model_copy(update={"feast_project": "other"})
    with OnlineStore.connect(settings) as ours, OnlineStore.connect(other) as theirs:
        ours.claim_event_ids([("a", b"1")], HOUR)
        assert theirs.claim_event_ids([("a", b"2")], HOUR) == [b"2"]


def test_a_value_of_another_type_and_a_key_without_a_hash_are_named(
    store: OnlineStore, client: Redis
) -> None:
    client.hset(USER_CODEC.key("v"), USER_CODEC.state_fields[1], b"\x20\x01")  # type: ignore[arg-type]
    with pytest.raises(CorruptRowError, match=r"user_state\.spend of key .*: expected double_val"):
        store.read([(USER_CODEC, USER_CODEC.key("v"))])
    client.set(USER_CODEC.key("u"), b"something else")
    with pytest.raises(CorruptRowError, match=r"user_state.*the key holds no hash"):
        store.read([(USER_CODEC, USER_CODEC.key("u"))])
    with pytest.raises(CorruptRowError, match=r"user_state.*the key holds no hash"):
        store.write_guarded([write(None, b"w")])


def test_a_server_that_is_not_there_is_unavailable() -> None:
    port = free_port()
    settings = OnlineStoreSettings(redis_host="127.0.0.1", redis_port=port)
    with (
        OnlineStore.connect(settings) as store,
        pytest.raises(
            StoreUnavailableError, match=rf"read 1 rows at redis://127\.0\.0\.1:{port}/0: .*refused"
        ),
    ):
        store.read([(USER_CODEC, USER_CODEC.key("u"))])


@pytest.mark.redis
def test_a_connection_that_was_lost_is_made_again(redis_server: RedisServer) -> None:
    with OnlineStore.connect(redis_server.settings()) as store:
        assert store.write_guarded([write(None, b"w")]) == [True]
        redis_server.stop()
        with pytest.raises(StoreUnavailableError, match=r"write 1 rows at"):
            store.write_guarded([write(b"w", b"x")])
        redis_server.start()
        assert store.write_guarded([write(None, b"w")]) == [True]


READER = ("--user", "reader", "on", ">geheim", "~*", "+@read", "+@connection")
REPLICA = ("--replicaof", "127.0.0.1", "1", "--replica-serve-stale-data", "yes")
FULL = ("--maxmemory", "1", "--maxmemory-policy", "noeviction")
ALONE = ("--min-replicas-to-write", "1")


@pytest.mark.redis
@pytest.mark.parametrize(
    ("options", "credentials", "error", "reason"),
    [
        (("--requirepass", "geheim"), {}, StoreRefusedError, r".*auth"),
        (("--requirepass", "geheim"), {"redis_password": "falsch"}, StoreRefusedError, r".*(auth|password)"),
        (
            READER,
            {"redis_username": "reader", "redis_password": "geheim"},
            StoreRefusedError,
            ".*permissions",
        ),
        (REPLICA, {}, StoreRefusedError, ".*(read only|master)"),
        (FULL, {}, StoreUnavailableError, ".*memory"),
        (ALONE, {}, StoreUnavailableError, "NOREPLICAS"),
    ],
    ids=["no password", "wrong password", "no permission", "replica", "full", "too few replicas"],
)
def test_a_server_that_refuses_a_write_is_named_with_the_reason(
    options: tuple[str, ...], credentials: dict[str, str], error: type[Exception], reason: str
) -> None:
    with running_redis(*options) as server, OnlineStore.connect(server.settings(**credentials)) as store:
        with pytest.raises(error, match=rf"(?i)write 1 rows at .*: {reason}") as caught:
            store.write_guarded([write(None, b"w")])
        assert "falsch" not in str(caught.value)


@pytest.mark.redis
def test_a_server_that_cannot_save_is_unavailable() -> None:
    with running_redis() as server, OnlineStore.connect(server.settings()) as store:
        store.ping()  # it has loaded its file
        fail_to_save(server)
        with pytest.raises(StoreUnavailableError, match="MISCONF"):
            store.write_guarded([write(None, b"w")])
        store.ping()
        with OnlineStore.connect(server.settings()) as new:
            new.ping()


@pytest.mark.redis
def test_a_server_that_does_not_answer_in_time_is_unavailable(redis_server: RedisServer) -> None:
    settings = redis_server.settings(redis_timeout=0.05, redis_connect_timeout=0.05)
    with OnlineStore.connect(settings) as store:
        store.ping()
        with redis_server.frozen(), pytest.raises(StoreUnavailableError, match=r"ping at"):
            store.ping()
