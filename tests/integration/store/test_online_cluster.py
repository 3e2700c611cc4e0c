"""What happens on a cluster and not on one server: slots move, primaries change, replicas lack writes."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reprise.backfill.replaceable_store import ReplaceableStore
from reprise.store.exceptions import StoreError, StoreRefusedError, StoreUnavailableError
from reprise.store.feast.codec import ViewCodec
from reprise.store.online_store import GuardedWrite, OnlineStore
from reprise.store.reader import OnlineReader
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.async_transport import AsyncTransport
from reprise.store.transport.resp import PING
from reprise.store.transport.resp_rows import RespRows
from reprise.store.transport.router import key_slot
from reprise.store.watermarks import Watermarks, log_position
from support.redis import RedisServer, free_port, running_redis
from support.redis_cluster import RedisCluster, command
from support.rows import STATE, USER_CODEC

pytestmark = pytest.mark.redis

DOCUMENT = Path(__file__).parents[3] / "docs/redis.md"
TOPIC = bytes(range(16))
USERS = range(60)
FAILOVER_SECONDS = 60.0


def row(number: int) -> tuple[ViewCodec, bytes]:
    return USER_CODEC, USER_CODEC.key(f"u{number}")


ROWS = [row(number) for number in USERS]
MANY = USER_CODEC, [[f"u{number}" for number in range(500)]]


def write(store: OnlineStore, expected: bytes | None, watermarks: bytes, purchases: int) -> list[bool]:
    state = [purchases, *STATE[1:]]
    return store.write_guarded([GuardedWrite(*row, expected, state, watermarks, 1) for row in ROWS])


def held(store: OnlineStore) -> set[Any]:
    return {row.state[0] for row in store.read(ROWS)}


def until_it_works(function: Callable[[], Any]) -> Any:
    """Do something again as long as the store is away."""
    give_up = time.monotonic() + FAILOVER_SECONDS
    while True:
        try:
            return function()
        except StoreUnavailableError:
            assert time.monotonic() < give_up, "the store did not come back in time"
            time.sleep(0.05)


def primary_of(cluster: RedisCluster, key: bytes) -> RedisServer:
    slot = key_slot(key)
    ranges = command(cluster.primaries()[0], "CLUSTER", "SLOTS")
    port = next(primary[1] for first, last, primary, *_ in ranges if first <= slot <= last)
    return next(server for server in cluster.servers if server.port == port)


def test_the_rows_are_on_all_primaries(redis_cluster: RedisCluster) -> None:
    with OnlineStore.connect(redis_cluster.settings()) as store:
        assert all(write(store, None, b"1", 7))
    sizes = [command(primary, "DBSIZE") for primary in redis_cluster.primaries()]
    assert sum(sizes) == len(USERS)
    assert all(sizes)


def test_a_store_follows_a_failover_that_was_agreed_on(redis_cluster: RedisCluster) -> None:
    with OnlineStore.connect(redis_cluster.settings()) as store:
        assert all(write(store, None, b"1", 1))
        for number, primary in enumerate(redis_cluster.primaries()):
            redis_cluster.fail_over(primary)
            assert held(store) == {number + 1}
            assert all(write(store, b"%d" % (number + 1), b"%d" % (number + 2), number + 2))
        store.ping()


def test_another_node_tells_the_layout_when_the_first_is_down(redis_cluster: RedisCluster) -> None:
    first = redis_cluster.servers[0]
    if first in redis_cluster.primaries():
        redis_cluster.fail_over(first)
    redis_cluster.wait_until_whole()
    first.stop()
    with OnlineStore.connect(
        first.settings(redis_type="redis_cluster", redis_nodes=redis_cluster.nodes)
    ) as store:
        assert all(write(store, None, b"1", 1))
    with (
        OnlineStore.connect(first.settings(redis_type="redis_cluster", redis_timeout=0.3)) as store,
        pytest.raises(
            StoreUnavailableError, match=rf"read 60 rows at redis://127\.0\.0\.1:{first.port} \(cluster\)"
        ),
    ):
        store.read(ROWS)


def test_a_slot_on_its_way_is_read_and_written_where_each_key_is(redis_cluster: RedisCluster) -> None:
    _, key = row(1)
    with OnlineStore.connect(redis_cluster.settings()) as store:
        store.read(ROWS)
        with moving_slot(redis_cluster, key) as target:
            # What is not at the source yet is asked for at the target.
            assert all(write(store, None, b"1", 1))
            assert command(target, "CLUSTER", "COUNTKEYSINSLOT", key_slot(key)) == 1
            assert held(store) == {1}
            assert asyncio.run(read_all(redis_cluster)) == {1}
        assert held(store) == {1}  # the slot has moved for good
        assert all(write(store, b"1", b"2", 2))


@contextmanager
def moving_slot(cluster: RedisCluster, key: bytes) -> Iterator[RedisServer]:
    """Move a key's slot to the other primary: it is on its way until the end."""
    slot, source = key_slot(key), primary_of(cluster, key)
    target = next(primary for primary in cluster.primaries() if primary is not source)
    ids = {server.port: command(server, "CLUSTER", "MYID") for server in (source, target)}
    command(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
    command(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
    try:
        yield target
    finally:
        for server in (target, source, *cluster.primaries()):
            command(server, "CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])


def test_users_are_not_erased_while_slots_move(redis_cluster: RedisCluster) -> None:
    _, key = row(1)
    with OnlineStore.connect(redis_cluster.settings()) as store:
        store.read(ROWS)
        with moving_slot(redis_cluster, key):
            assert all(write(store, None, b"1", 1))
            with pytest.raises(StoreUnavailableError, match="are moving"):
                store.erase_users({"u1"})
        keys = store.transport.scan(b"*", 10)
        next(keys)
        with moving_slot(redis_cluster, b"nobody"):
            pass
        with pytest.raises(StoreUnavailableError, match="have moved"):
            list(keys)
        assert until_it_works(lambda: store.erase_users({"u1"})) == 1


async def read_all(cluster: RedisCluster) -> set[Any]:
    async with OnlineReader(cluster.settings(), deadline=5) as reader:
        rows = [found.state[0] for found in await reader.read(ROWS)]
        (block,) = await reader.read_blocks([MANY])
        np.testing.assert_array_equal(block.state[: len(rows), 0], rows)
        assert block.known.sum() == len(rows)
        return set(rows)


def test_a_server_that_is_no_cluster_is_refused_by_name(redis_server: RedisServer) -> None:
    with (
        OnlineStore.connect(redis_server.settings(redis_type="redis_cluster")) as store,
        pytest.raises(StoreRefusedError, match=r"layout: ERR This instance has cluster support disabled"),
    ):
        store.read(ROWS)


def test_what_replicas_have_is_settled_and_stays_after_the_primary_died(
    redis_cluster: RedisCluster,
) -> None:
    settings = redis_cluster.settings(redis_nodes=redis_cluster.nodes, redis_timeout=5.0)
    with OnlineStore.connect(settings) as store:
        for number in range(30):
            replication_ids = store.replication_ids()
            assert all(write(store, b"%d" % number if number else None, b"%d" % (number + 1), number))
            store.wait_for_replicas(replication_ids)
        redis_cluster.primaries()[1].stop()
        assert until_it_works(lambda: held(store)) == {29}
        assert all(until_it_works(lambda: write(store, b"30", b"31", 31)))
        until_it_works(store.ping)


def test_what_a_frozen_replica_lacks_is_not_settled(redis_cluster: RedisCluster) -> None:
    primary = redis_cluster.primaries()[0]
    with OnlineStore.connect(redis_cluster.settings(redis_timeout=2.0)) as store:
        replication_ids = store.replication_ids()
        with redis_cluster.replica_of(primary).frozen():
            assert all(write(store, None, b"1", 1))
            with pytest.raises(
                StoreUnavailableError, match=r"0 replicas have what was written, and REDIS_WAIT_REPLICAS"
            ):
                store.wait_for_replicas(replication_ids)
        until_it_works(lambda: store.wait_for_replicas(store.replication_ids()))


def test_a_write_that_its_primary_took_along_is_not_settled_by_the_next_one(
    redis_cluster: RedisCluster,
) -> None:
    """The store was told that it wrote, and finds the new primary without it: who asks has to fold again."""
    primary = redis_cluster.primaries()[0]
    replica = redis_cluster.replica_of(primary)
    settings = redis_cluster.settings(redis_nodes=redis_cluster.nodes, redis_timeout=5.0)
    with OnlineStore.connect(settings) as store:
        assert all(write(store, None, b"1", 1))
        store.wait_for_replicas(store.replication_ids())
        replication_ids = store.replication_ids()
        with replica.frozen():
            command(primary, "CLIENT", "KILL", "TYPE", "replica")
            assert all(write(store, b"1", b"2", 2))
            primary.stop()
        assert until_it_works(lambda: held(store)) == {1, 2}
        with pytest.raises(StoreUnavailableError, match=r"wait for replicas at .*: "):
            store.wait_for_replicas(replication_ids)


def test_one_server_settles_with_its_replicas_too(redis_server: RedisServer) -> None:
    alone = redis_server.settings()
    with OnlineStore.connect(alone) as store:
        assert store.replication_ids() == {}
        store.wait_for_replicas({})
    waiting = alone.model_copy(update={"redis_wait_replicas": 1, "redis_timeout": 0.5})
    with redis_server.client() as client:
        client.config_set("repl-diskless-sync-delay", 0)
    with running_redis("--replicaof", redis_server.host, str(redis_server.port)) as replica:
        with OnlineStore.connect(waiting) as store:
            until_it_works(lambda: store.wait_for_replicas(store.replication_ids()))
        replica.stop()
        with (
            OnlineStore.connect(waiting) as store,
            pytest.raises(StoreUnavailableError, match="0 replicas have what was written"),
        ):
            store.wait_for_replicas(store.replication_ids())


async def test_a_reader_answers_through_a_failover_that_was_agreed_on(redis_cluster: RedisCluster) -> None:
    await asyncio.to_thread(fill, redis_cluster)
    async with OnlineReader(redis_cluster.settings(), deadline=5) as reader:
        await reader.ping()
        for primary in redis_cluster.primaries():
            failing = asyncio.create_task(asyncio.to_thread(redis_cluster.fail_over, primary))
            for _ in range(40):
                assert {found.state[0] for found in await reader.read(ROWS)} == {5}
                (block,) = await reader.read_blocks([MANY])
                assert set(block.state[: len(ROWS), 0]) == {5}
            await failing
        await reader.ping()


def fill(cluster: RedisCluster) -> None:
    with OnlineStore.connect(cluster.settings()) as store:
        replication_ids = store.replication_ids()
        assert all(write(store, None, b"1", 5))
        store.wait_for_replicas(replication_ids)


async def test_the_rows_of_a_large_batch_come_as_they_are_from_all_primaries(
    redis_cluster: RedisCluster,
) -> None:
    codec, keys = USER_CODEC, USER_CODEC.keys(*MANY[1])
    await asyncio.to_thread(fill, redis_cluster)
    reads = AsyncTransport(redis_cluster.settings(), None, 1)
    reads.start()
    try:
        until = asyncio.get_running_loop().time() + 5
        await reads.execute_on_primaries(PING, until)
        rows = await reads.execute_rows(
            list(map(codec.read_command, keys)), keys, len(codec.read_fields), until
        )
    finally:
        await reads.close()
    assert isinstance(rows, RespRows)
    np.testing.assert_array_equal(codec.decode_resp_rows(rows, keys)[:, 0], [5] * len(ROWS) + [np.nan] * 440)


async def test_a_reader_is_unavailable_while_a_primary_is_gone_and_then_answers_again(
    redis_cluster: RedisCluster,
) -> None:
    await asyncio.to_thread(fill, redis_cluster)
    async with OnlineReader(redis_cluster.settings(), deadline=0.2) as reader:
        await reader.ping(deadline=5)
        redis_cluster.primaries()[0].stop()
        before = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"read rows at .*: no answer within 200 ms \("):
            await reader.read(ROWS)
        assert time.monotonic() - before < 2
        give_up = time.monotonic() + FAILOVER_SECONDS
        while True:
            try:
                found = await reader.read(ROWS)
                break
            except StoreError:
                assert time.monotonic() < give_up
        assert {row.state[0] for row in found} == {5}
        await reader.ping(deadline=5)


async def test_a_reader_finds_the_cluster_by_another_node_and_waits_for_it(
    redis_cluster: RedisCluster,
) -> None:
    nowhere = redis_cluster.settings(redis_port=free_port(), redis_nodes=redis_cluster.nodes)
    async with OnlineReader(nowhere, deadline=5) as reader:
        assert not (await reader.read(ROWS))[0].known


async def test_a_reader_of_a_server_that_is_no_cluster_is_refused(redis_server: RedisServer) -> None:
    async with OnlineReader(redis_server.settings(redis_type="redis_cluster"), deadline=30) as reader:
        with pytest.raises(StoreRefusedError, match="cluster support disabled"):
            await reader.read(ROWS)


def documented_rules(user: str) -> list[str]:
    (line,) = re.findall(rf"^ACL SETUSER {user} on >PASSWORD (.*)$", DOCUMENT.read_text(), re.MULTILINE)
    return ["reset", "on", ">geheim", *line.split()]


@pytest.fixture
def users(redis_cluster: RedisCluster) -> Iterator[None]:
    """The documented users, and one that may not ask for the layout."""
    rules = {name: documented_rules(name) for name in ("predictor", "materializer", "backfill")}
    rules["blind"] = [rule for rule in rules["predictor"] if rule != "+cluster|slots"]
    for server in redis_cluster.servers:
        for name, given in rules.items():
            command(server, "ACL", "SETUSER", name, *given)
    yield
    for server in redis_cluster.servers:
        command(server, "ACL", "DELUSER", *rules)


def as_user(cluster: RedisCluster, name: str) -> OnlineStoreSettings:
    return cluster.settings(redis_username=name, redis_password="geheim")


@pytest.mark.usefixtures("users")
async def test_the_documented_predictor_may_read_and_nothing_else(redis_cluster: RedisCluster) -> None:
    async with OnlineReader(as_user(redis_cluster, "predictor"), deadline=5) as reader:
        await reader.ping()
        assert not (await reader.read(ROWS))[0].known
    async with OnlineReader(as_user(redis_cluster, "blind"), deadline=5) as reader:
        with pytest.raises(StoreRefusedError, match=r"layout: NOPERM"):
            await reader.read(ROWS)
    with (
        OnlineStore.connect(as_user(redis_cluster, "predictor")) as store,
        pytest.raises(StoreRefusedError, match="NOPERM"),
    ):
        await asyncio.to_thread(write, store, None, b"1", 1)


@pytest.mark.usefixtures("users")
def test_the_documented_materializer_and_backfill_may_do_what_they_do(redis_cluster: RedisCluster) -> None:
    with OnlineStore.connect(as_user(redis_cluster, "materializer")) as store:
        store.ping()
        replication_ids = store.replication_ids()
        store.claim_event_ids([("event", b"position")], timedelta(hours=1))
        assert held(store) == {None}
        assert all(write(store, None, b"1", 1))
        store.wait_for_replicas(replication_ids)
    with ReplaceableStore.connect(as_user(redis_cluster, "backfill")) as store:
        replication_ids = store.replication_ids()
        store.claim_event_ids([("event", b"position")], timedelta(hours=1))
        assert all(write(store, b"1", Watermarks(TOPIC, {3: 8}).to_bytes(), 2))
        assert (
            store.erase_rows_before({"u1": log_position(TOPIC, 3, 7), "u2": log_position(TOPIC, 3, 8)}) == 1
        )
        assert store.remove_other_rows(USER_CODEC, b"3") == len(USERS) - 1
        store.wait_for_replicas(replication_ids)
