from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import RedisCluster

from reprise.store.exceptions import CorruptRowError, StoreRefusedError, StoreUnavailableError
from reprise.store.online_store import GuardedWrite, OnlineStore
from reprise.store.reader import OnlineReader
from reprise.store.settings import OnlineStoreSettings
from support.certificates import self_signed
from support.embedded_redis import Address
from support.redis import RedisServer, free_port, running_redis
from support.rows import EMPTY, PAIR_CODEC, PRODUCT_CODEC, STATE, USER_CODEC


@pytest.fixture
async def reader(settings: OnlineStoreSettings) -> AsyncIterator[OnlineReader]:
    async with OnlineReader(settings, deadline=5) as reader:
        yield reader


@pytest.fixture
def stored(settings: OnlineStoreSettings) -> None:
    """Users u0 to u9 with as many purchases, product p and the pair of u1 and p."""
    write_users(settings)


def write_users(settings: OnlineStoreSettings) -> None:
    rows = [(USER_CODEC, USER_CODEC.key(f"u{number}"), number) for number in range(10)]
    rows += [(PRODUCT_CODEC, PRODUCT_CODEC.key("p"), 100), (PAIR_CODEC, PAIR_CODEC.key("u1", "p"), 200)]
    with OnlineStore.connect(settings) as store:
        written = store.write_guarded(
            [GuardedWrite(codec, key, None, [first, *STATE[1:]], b"w", 1) for codec, key, first in rows]
        )
    assert all(written)


@pytest.fixture
async def single(redis_server: RedisServer) -> AsyncIterator[OnlineReader]:
    """A reader of one connection, which is open, to a server with the rows of ``stored``."""
    write_users(redis_server.settings())
    async with OnlineReader(redis_server.settings(), deadline=5, connections=1) as reader:
        await reader.ping()
        yield reader


def user(number: int) -> tuple[Any, bytes]:
    return USER_CODEC, USER_CODEC.key(f"u{number}")


async def test_the_rows_of_a_request_come_in_the_order_asked_for_and_one_never_seen_is_not_known(
    reader: OnlineReader, stored: None
) -> None:
    product, pair = (PRODUCT_CODEC, PRODUCT_CODEC.key("p")), (PAIR_CODEC, PAIR_CODEC.key("u1", "p"))
    rows = await reader.read([user(1), user(77), product, pair])
    known = [([first, *STATE[1:]], True) for first in (1, 100, 200)]
    assert rows == [known[0], (EMPTY, False), *known[1:]]


async def test_a_row_of_nulls_is_known(reader: OnlineReader, settings: OnlineStoreSettings) -> None:
    with OnlineStore.connect(settings) as store:
        store.write_guarded([GuardedWrite(*user(1), None, EMPTY, b"w", 0)])
    assert await reader.read([user(1)]) == [(EMPTY, True)]


async def test_nothing_asked_for_is_nothing_read(settings: OnlineStoreSettings) -> None:
    reader = OnlineReader(settings)
    assert await reader.read([]) == []
    assert await reader.read_blocks([]) == []
    (block,) = await reader.read_blocks([(USER_CODEC, [[]])])
    assert block.state.shape == (0, 4)


async def test_a_batch_has_a_row_for_each_key_though_a_repeated_id_is_asked_for_once(
    reader: OnlineReader, stored: None, redis_address: Address
) -> None:
    users = [f"u{number}" for number in (3, 5, 3, 77, 3)]
    products = ["p"] * 5
    with redis_address.client() as client:
        if not redis_address.embedded:
            forget_calls(client)
        user_block, product_block, pair_block = await reader.read_blocks(
            [(USER_CODEC, [users]), (PRODUCT_CODEC, [products]), (PAIR_CODEC, [users, products])]
        )
        if not redis_address.embedded:
            assert calls(client, "hmget") == 9
    np.testing.assert_array_equal(user_block.state[:, 0], [3, 5, 3, np.nan, 3])
    np.testing.assert_array_equal(user_block.known, [True, True, True, False, True])
    assert np.isnan(user_block.state[3]).all()
    np.testing.assert_array_equal(product_block.state[:, 0], [100] * 5)
    assert product_block.known.all()
    np.testing.assert_array_equal(pair_block.known, [False] * 5)


def many_users(last: int) -> list[str]:
    """So many that their rows are taken apart at once; those that are stored are among them, again and again."""
    return [f"u{number % last if number % 2 else number}" for number in range(600)]


async def test_a_large_batch_has_what_its_rows_have_one_by_one(
    reader: OnlineReader, stored: None, settings: OnlineStoreSettings
) -> None:
    with OnlineStore.connect(settings) as store:
        store.write_guarded([GuardedWrite(*user(20), None, [-1, None, 1 << 60, 0.5], b"w", 1)])
    users, products = many_users(10), ["nothing", "p"] * 300
    blocks = [(USER_CODEC, [users]), (PRODUCT_CODEC, [products]), (PAIR_CODEC, [users, products])]
    found = await reader.read_blocks(blocks)
    for (codec, ids), block in zip(blocks, found, strict=True):
        rows = await reader.read([(codec, key) for key in codec.keys(*ids)])
        np.testing.assert_array_equal(block.state, np.array([row.state for row in rows], np.float64))
        np.testing.assert_array_equal(block.known, [row.known for row in rows])
    assert [block.known.sum() for block in found] == [300 + 5 + 1, 300, 60]


async def ask_for_one(reader: OnlineReader, deadline: float | None = None) -> None:
    for number in range(10):
        assert (await reader.read([user(number)], deadline))[0].state[0] == number


async def ask_for_many(reader: OnlineReader, deadline: float | None = None) -> None:
    (block,) = await reader.read_blocks([(USER_CODEC, [many_users(10)])], deadline)
    np.testing.assert_array_equal(block.state[1:20:2, 0], [1, 3, 5, 7, 9] * 2)


EITHER_WAY = pytest.mark.parametrize("ask", [ask_for_one, ask_for_many])


async def test_large_batches_and_single_reads_share_connections(reader: OnlineReader, stored: None) -> None:
    await asyncio.gather(*(ask(reader) for ask in [ask_for_one, ask_for_many] * 10))


def forget_calls(client: Any) -> None:
    """Count from nothing again, on all servers."""
    everywhere = {"target_nodes": RedisCluster.ALL_NODES} if isinstance(client, RedisCluster) else {}
    client.config_resetstat(**everywhere)


def calls(client: Any, name: str) -> int:
    """How often a command has run, on all servers together."""
    if isinstance(client, RedisCluster):
        statistics: Any = client.info("commandstats", target_nodes=RedisCluster.ALL_NODES).values()
    else:
        statistics = [client.info("commandstats")]
    return sum(each.get(f"cmdstat_{name}", {"calls": 0})["calls"] for each in statistics)


async def test_a_key_that_holds_no_hash_is_named(reader: OnlineReader, redis_address: Address) -> None:
    if redis_address.embedded:
        pytest.skip("the embedded server hangs up after an error")
    with redis_address.client() as client:
        client.set(USER_CODEC.key("u1"), "something else")
    for read in (
        reader.read([user(2), user(1)]),
        reader.read_blocks([(USER_CODEC, [["u2", "u1"]])]),
        reader.read_blocks([(USER_CODEC, [many_users(10)])]),
    ):
        with pytest.raises(CorruptRowError, match=r"user_state.*u1.*the key holds no hash"):
            await read
    assert not (await reader.read([user(2)]))[0].known


async def test_a_reader_is_in_another_database_than_its_neighbour(
    settings: OnlineStoreSettings, stored: None, redis_address: Address
) -> None:
    if redis_address.cluster:
        pytest.skip("a cluster has one database")
    elsewhere = settings.model_copy(update={"redis_db": 3})
    async with OnlineReader(elsewhere, deadline=5) as reader:
        assert not (await reader.read([user(1)]))[0].known


async def test_a_store_that_is_not_there_is_unavailable_within_the_deadline() -> None:
    port = free_port()
    settings = OnlineStoreSettings(redis_host="127.0.0.1", redis_port=port)
    async with OnlineReader(settings, deadline=0.2) as reader:
        before = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=rf"{port}/0: no answer within 200 ms \(connect to"):
            await reader.read([user(1)])
        assert 0.15 < time.monotonic() - before < 2


async def test_a_reader_that_is_not_started_or_closed_says_so(settings: OnlineStoreSettings) -> None:
    reader = OnlineReader(settings, deadline=5)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="the reader is not started"):
            await reader.read([user(1)])
        with pytest.raises(StoreUnavailableError, match="the reader is not started"):
            await reader.ping()
        async with reader:
            await reader.ping()


@pytest.mark.redis
async def test_a_reader_that_gives_up_costs_the_others_neither_their_answers_nor_the_connection(
    redis_server: RedisServer, single: OnlineReader
) -> None:
    before = connections_made(redis_server)
    impatient = [asyncio.create_task(single.read([user(9)])) for _ in range(20)]
    patient = [asyncio.create_task(single.read([user(number)])) for number in range(9)]
    await asyncio.sleep(0)
    for task in impatient[::2]:
        task.cancel()
    assert [(await task)[0].state[0] for task in patient] == list(range(9))
    assert [(await task)[0].state[0] for task in impatient[1::2]] == [9] * 10
    assert all(task.cancelled() for task in impatient[::2])
    assert connections_made(redis_server) == before + 1


def connections_made(server: RedisServer) -> int:
    """How many connections the server has taken, the one that asks included."""
    with server.client() as client:
        made: int = client.info("stats")["total_connections_received"]
        return made


@pytest.mark.redis
@EITHER_WAY
async def test_a_server_that_hangs_fails_reads_at_their_deadline_and_is_read_again_later(
    redis_server: RedisServer, single: OnlineReader, ask: Callable[..., Any]
) -> None:
    with redis_server.frozen():
        before = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"read rows at .*: no answer within 50 ms"):
            await ask(single, deadline=0.05)
        assert time.monotonic() - before < 2
    await ask_for_one(single)


@pytest.mark.redis
async def test_a_connection_on_which_nothing_moves_is_given_up(redis_server: RedisServer) -> None:
    settings = redis_server.settings(redis_connect_timeout=0.1)
    async with OnlineReader(settings, deadline=0.1, connections=1) as reader:
        await reader.ping(deadline=5)
        with redis_server.frozen():
            reason, give_up = "", time.monotonic() + 30
            while "connect to" not in reason and time.monotonic() < give_up:
                with pytest.raises(StoreUnavailableError) as caught:
                    await reader.ping()
                reason = str(caught.value)
            assert "connect to" in reason
        await reader.ping(deadline=5)


@pytest.mark.redis
async def test_a_server_that_comes_back_is_read_again(redis_server: RedisServer) -> None:
    async with OnlineReader(redis_server.settings(), deadline=0.2) as reader:
        await reader.ping(deadline=5)
        redis_server.stop()
        with pytest.raises(StoreUnavailableError):
            await reader.read([user(1)])
        redis_server.start()
        write_users(redis_server.settings())
        (row,) = await reader.read([user(4)], deadline=5)
        assert row.state[0] == 4


@pytest.mark.redis
@EITHER_WAY
async def test_a_read_whose_connection_is_cut_is_answered_on_another(
    redis_server: RedisServer, single: OnlineReader, ask: Callable[..., Any]
) -> None:
    with redis_server.client() as client:
        for _ in range(4):
            reads = [asyncio.create_task(ask(single)) for _ in range(3)]
            await asyncio.sleep(0)
            client.client_kill_filter(_type="normal", skipme=True)
            await asyncio.gather(*reads)


@pytest.mark.redis
@pytest.mark.parametrize("password", [None, "falsch"])
async def test_a_wrong_password_is_refused_at_once(password: str | None) -> None:
    with running_redis("--requirepass", "geheim") as server:
        settings = server.settings(redis_password=password)
        async with OnlineReader(settings, deadline=30) as reader:
            with pytest.raises(StoreRefusedError, match=r"connect to .*: (WRONGPASS|NOAUTH)") as caught:
                await reader.read([user(1)])
        assert "falsch" not in str(caught.value)


@pytest.mark.redis
async def test_a_user_with_a_password_reads_and_what_it_may_not_is_refused() -> None:
    rules = ("on", ">geheim", "~*", "+ping", "+hmget", "+select")
    with running_redis("--user", "predictor", *rules, "--user", "blind", *rules[:-2]) as server:
        settings = server.settings(redis_username="predictor", redis_password="geheim", redis_db=2)
        async with OnlineReader(settings, deadline=5) as reader:
            assert not (await reader.read([user(1)]))[0].known
        blind = server.settings(redis_username="blind", redis_password="geheim")
        async with OnlineReader(blind, deadline=5) as reader:
            await reader.ping()
            with pytest.raises(StoreRefusedError, match=r"read rows at .*: NOPERM"):
                await reader.read([user(1)])
            with pytest.raises(StoreRefusedError, match=r"read rows at .*: NOPERM"):
                await reader.read_blocks([(USER_CODEC, [many_users(10)])])


@pytest.mark.redis
async def test_a_server_with_tls_is_read_and_written_if_its_authority_is_known(tmp_path: Path) -> None:
    key, cert = self_signed(tmp_path)
    port = free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", str(cert), "--tls-key-file", str(key)]
    with running_redis(*options, "--tls-auth-clients", "no"):
        known = OnlineStoreSettings(
            redis_host="127.0.0.1", redis_port=port, redis_tls=True, redis_ca_file=cert
        )
        await asyncio.to_thread(write_users, known)
        async with OnlineReader(known, deadline=5) as reader:
            assert (await reader.read([user(4)]))[0].state[0] == 4
        unknown = OnlineStoreSettings(redis_host="127.0.0.1", redis_port=port, redis_tls=True)
        async with OnlineReader(unknown, deadline=5) as reader:
            with pytest.raises(StoreRefusedError, match=r"connect to rediss://.*TLS.*certificate"):
                await reader.read([user(4)])


async def test_a_file_of_authorities_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    with pytest.raises(StoreRefusedError, match=r"load the authorities in .*ca\.pem"):
        OnlineReader(OnlineStoreSettings(redis_tls=True, redis_ca_file=file))
