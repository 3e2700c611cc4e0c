from datetime import timedelta

import pytest
from redis.cluster import RedisCluster as Client

from reprise.store.async_client import DocumentReader
from reprise.store.client import DocumentStore
from reprise.store.exceptions import StoreRefusedError, StoreUnavailableError
from reprise.store.transport.resp import pack
from support.redis import RedisServer, free_port
from support.redis_cluster import RedisCluster

pytestmark = pytest.mark.redis

KEY = "routing:reprise:document"


async def test_document_is_read_as_it_was_written_and_absent_where_there_is_none(
    redis_server: RedisServer,
) -> None:
    async with DocumentReader(redis_server.settings()) as reader:
        assert await reader.get(KEY) is None
        with redis_server.client() as client:
            client.set(KEY, b"\x00\xff{}")
        assert await reader.get(KEY) == b"\x00\xff{}"


async def test_document_is_read_from_the_node_of_a_cluster_that_has_it(redis_cluster: RedisCluster) -> None:
    keys = [f"routing:project-{number}:document" for number in range(12)]
    client = Client(host=redis_cluster.host, port=redis_cluster.port)
    for key in keys:
        client.set(key, key)
    async with DocumentReader(redis_cluster.settings(), deadline=5) as reader:
        assert [await reader.get(key) for key in keys] == [key.encode() for key in keys]
    client.close()


async def test_store_that_is_away_is_reported_within_the_deadline(redis_server: RedisServer) -> None:
    async with DocumentReader(redis_server.settings(redis_port=free_port()), deadline=0.2) as reader:
        with pytest.raises(StoreUnavailableError, match="no answer within 200 ms"):
            await reader.get(KEY)


async def test_refusal_names_the_key(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "blind", "on", ">geheim", "~*", "-@all", "+ping")
        try:
            blind = redis_server.settings(redis_username="blind", redis_password="geheim")
            async with DocumentReader(blind) as reader:
                with pytest.raises(StoreRefusedError, match=rf"read {KEY}"):
                    await reader.get(KEY)
        finally:
            client.execute_command("ACL", "DELUSER", "blind")


@pytest.mark.parametrize("kind", ["redis", "redis_cluster"])
def test_written_document_is_read_back_and_expires_if_asked(
    kind: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("redis_server" if kind == "redis" else "redis_cluster")
    with DocumentStore.connect(server.settings()) as store:
        assert store.get(KEY) is None
        store.set(KEY, b"\x00{}")
        assert store.get(KEY) == b"\x00{}"
        store.set(KEY, b"{}", timedelta(hours=1))
        (remaining_ms,) = store.execute([pack(b"PTTL", KEY.encode())], [KEY.encode()], "read the expiry")
    assert 0 < remaining_ms <= 3_600_000


def test_document_of_a_store_that_is_away_is_unavailable(redis_server: RedisServer) -> None:
    with (
        DocumentStore.connect(redis_server.settings(redis_port=free_port())) as store,
        pytest.raises(StoreUnavailableError, match=f"read {KEY}"),
    ):
        store.get(KEY)
