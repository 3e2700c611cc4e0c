"""Fixtures that several folders of tests share."""

from collections.abc import Iterator

import pytest

from support.collection import (  # noqa: F401  (hooks of pytest)
    pytest_collection_finish,
    pytest_collection_modifyitems,
    pytest_collectstart,
    pytest_configure,
    pytest_terminal_summary,
    pytest_unconfigure,
    pytest_xdist_make_scheduler,
)
from support.redis import RedisServer, running_redis
from support.redis_cluster import RedisCluster, running_redis_cluster


@pytest.fixture(scope="session")
def session_redis_server() -> Iterator[RedisServer]:
    """One real redis-server for the whole session."""
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_server(session_redis_server: RedisServer) -> RedisServer:
    """The session's redis-server without any keys; a test may stop it."""
    session_redis_server.flush()
    return session_redis_server


@pytest.fixture(scope="session")
def session_redis_cluster() -> Iterator[RedisCluster]:
    """One real cluster for the whole session."""
    with running_redis_cluster() as cluster:
        yield cluster


@pytest.fixture
def redis_cluster(session_redis_cluster: RedisCluster) -> RedisCluster:
    """The session's cluster without any keys; a test may stop some of its servers."""
    for server in session_redis_cluster.servers:
        if not server.is_running:
            server.start()
    session_redis_cluster.wait_until_whole()
    session_redis_cluster.flush()
    return session_redis_cluster
