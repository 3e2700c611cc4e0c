from datetime import timedelta

import pytest

from reprise.store.async_client import DocumentReader
from reprise.store.client import DocumentStore
from reprise.store.exceptions import StoreRefusedError
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.resp import pack
from support.redis import RedisServer

pytestmark = pytest.mark.redis

KEYS = [f"routing:project-{number}:document" for number in range(12)]
"""On a cluster, keys of all its nodes."""


async def test_documents_are_read_as_they_were_written_and_expire_if_asked(
    settings: OnlineStoreSettings,
) -> None:
    with DocumentStore.connect(settings) as store:
        async with DocumentReader(settings, deadline=5) as reader:
            for key in KEYS:
                assert store.get(key) is await reader.get(key) is None
                store.set(key, b"\x00\xff{}")
                assert store.get(key) == await reader.get(key) == b"\x00\xff{}"
                store.set(key, key.encode(), timedelta(hours=1))
                (remaining_ms,) = store.execute([pack(b"PTTL", key.encode())], [key.encode()], "ask")
                assert 0 < remaining_ms <= 3_600_000
            assert [await reader.get(key) for key in KEYS] == [key.encode() for key in KEYS]


async def test_refusal_names_the_key(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "blind", "on", ">geheim", "~*", "-@all", "+ping")
        try:
            blind = redis_server.settings(redis_username="blind", redis_password="geheim")
            async with DocumentReader(blind) as reader:
                with pytest.raises(StoreRefusedError, match=rf"read {KEYS[0]}"):
                    await reader.get(KEYS[0])
        finally:
            client.execute_command("ACL", "DELUSER", "blind")
