"""Two archivers on a real broker, killed and started again under load."""

import random
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.archiver_process import (
    Place,
    append,
    archived,
    files,
    load,
    running,
    said,
    until_idle,
    wait_for_more,
)
from support.kafka import KafkaBroker

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.soak]

KILLS = 50


def test_killed_and_rebalanced_they_archive_every_record_once(
    kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    rng = random.Random(11)
    settings = kafka_broker.settings()
    logged: dict[Place, bytes] = {}
    with ExitStack() as stack:

        def start() -> object:
            return stack.enter_context(running(tmp_path, "--port", "0", servers=kafka_broker.servers))

        workers = [start(), start()]
        for kill in range(KILLS):
            before = files(tmp_path)
            logged |= append(settings, load(seed=2 * kill))
            wait_for_more(tmp_path, before)
            logged |= append(settings, load(seed=2 * kill + 1))
            time.sleep(rng.uniform(0, 0.5))
            victim = workers.pop(rng.randrange(2))
            victim.kill()  # type: ignore[attr-defined]
            workers.append(start())
    until_idle(tmp_path, kafka_broker.servers)
    assert archived(tmp_path) == {place: said(place, value) for place, value in logged.items()}
    assert len(logged) == KILLS * 800
