"""What the online store's tests run against: a real server, a real cluster, the server embedded in Python."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from reprise.store.settings import OnlineStoreSettings
from support.collection import SOAK
from support.embedded_redis import Address, running_embedded_redis
from support.redis import RedisServer
from support.redis_cluster import RedisCluster


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each async test on the event loop that the predictor uses; in the soak on Python's own as well."""
    return {"uvloop": uvloop.new_event_loop} | ({"asyncio": asyncio.new_event_loop} if SOAK else {})


@pytest.fixture(params=["redis-server", "cluster", "embedded"])
def redis_address(request: pytest.FixtureRequest) -> Iterator[Address]:
    """An empty Redis: one real server, a real cluster, and the embedded one that the demo falls back to."""
    if request.param == "redis-server":
        server: RedisServer = request.getfixturevalue("redis_server")
        yield Address(server.host, server.port)
    elif request.param == "cluster":
        cluster: RedisCluster = request.getfixturevalue("redis_cluster")
        yield Address(cluster.host, cluster.port, cluster=True)
    else:
        with running_embedded_redis() as address:
            yield address


@pytest.fixture
def settings(redis_address: Address) -> OnlineStoreSettings:
    return OnlineStoreSettings(
        redis_host=redis_address.host,
        redis_port=redis_address.port,
        redis_type="redis_cluster" if redis_address.cluster else "redis",
    )
