"""Fixtures that several folders of tests share."""

from collections.abc import Iterator

import pytest
from support.redis import MISSING, RedisServer, redis_server_path, running_redis


@pytest.fixture(scope="session")
def _redis_server_of_session() -> Iterator[RedisServer]:
    if redis_server_path() is None:
        pytest.skip(MISSING)
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_server(_redis_server_of_session: RedisServer) -> RedisServer:
    """A real redis-server without any keys; a test that stops it starts one of its own instead."""
    _redis_server_of_session.flush()
    return _redis_server_of_session
