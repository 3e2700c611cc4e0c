"""Servers that the online store's tests run against: the real one, and the one that is embedded in Python."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop
from reprise_online.settings import OnlineStoreSettings
from support.embedded_redis import Address, running_embedded_redis
from support.redis import RedisServer


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each async test on Python's event loop and on the one that the predictor uses."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["redis-server", "embedded"])
def redis_address(request: pytest.FixtureRequest) -> Iterator[Address]:
    """An empty Redis, once the real one and once the embedded one that the demo falls back to."""
    if request.param == "redis-server":
        server: RedisServer = request.getfixturevalue("redis_server")
        yield Address(server.host, server.port, embedded=False)
    else:
        with running_embedded_redis() as address:
            yield address


@pytest.fixture
def settings(redis_address: Address) -> OnlineStoreSettings:
    return OnlineStoreSettings(redis_host=redis_address.host, redis_port=redis_address.port)
