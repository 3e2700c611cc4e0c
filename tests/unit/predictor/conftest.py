"""A predictor that the tests of a module share, over the model store that the module's ``store`` has."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.predictor import USER, RunningPredictor, running_predictor


@pytest.fixture(scope="module")
def shared(store: Path) -> Iterator[RunningPredictor]:
    with running_predictor(store, redis_ping_seconds=3600) as running:
        running.know("u-1", "p-1", user=USER, product=(7,), pair=(2,))
        yield running


@pytest.fixture
def predictor(shared: RunningPredictor) -> RunningPredictor:
    shared.reset()
    return shared
