"""A copy of the Feast repository that ``feast apply`` has registered, once for the session."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.feast_repository import CommandsRun, FeastRepository, copy_repository
from support.redis import RedisServer


@pytest.fixture(scope="session")
def feast_repository(
    session_redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> FeastRepository:
    """The repository, not yet applied."""
    return copy_repository(tmp_path_factory.mktemp("feature_repo"), session_redis_server)


@pytest.fixture(scope="session")
def first_commands(feast_repository: FeastRepository) -> CommandsRun:
    return feast_repository.run(["apply"], ["feature-views", "list"], ["feature-services", "list"])


@pytest.fixture(scope="session")
def applied(feast_repository: FeastRepository) -> FeastRepository:
    feast_repository.apply()
    return feast_repository


@pytest.fixture
def feast_store(applied: FeastRepository) -> Iterator[Any]:
    with applied.store() as store:
        yield store
