"""What docs/kafka.md shows: an event from a plain Kafka client, the changed feature through Feast."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.feast_repository import copy_repository
from support.kafka import KafkaBroker
from support.redis import RedisServer

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.feast, pytest.mark.slow]

PAGE = Path(__file__).parents[3] / "docs/kafka.md"
SECONDS = 60.0


def example(broker: KafkaBroker, repository: Path) -> tuple[str, str]:
    """The page's two pieces of Python, with this test's addresses."""
    publish, ask = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert "localhost:9092" in publish
    assert '"feature_repo"' in ask
    return publish.replace("localhost:9092", broker.servers), ask.replace(
        '"feature_repo"', repr(str(repository))
    )


def test_the_pages_event_is_what_feast_answers_with(
    kafka_broker: KafkaBroker,
    redis_server: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    repository = copy_repository(tmp_path, redis_server)
    repository.run(["apply"])
    environment = repository.environment | {
        "KAFKA_SERVERS": kafka_broker.servers,
        "REPRISE_PLAN": str(tmp_path / "plan" / "plan.json"),
        "API_HOST": "127.0.0.1",
        "API_PORT": "0",
    }
    command = [sys.executable, "-c", "from reprise.materializer.main import command; command()"]
    materializer = subprocess.Popen(command, env=environment)
    try:
        for name in ("REDIS_HOST", "REDIS_PORT"):
            monkeypatch.setitem(os.environ, name, environment[name])
        publish, ask = example(kafka_broker, tmp_path)
        names: dict[str, object] = {}
        exec(publish, names)
        deadline = time.monotonic() + SECONDS
        answer = ""
        while "12.5" not in answer and time.monotonic() < deadline:
            exec(ask, names)
            answer = capsys.readouterr().out
        assert answer.strip() == "[12.5]"
        names["producer"].close()  # type: ignore[attr-defined]
    finally:
        materializer.send_signal(signal.SIGTERM)
        assert materializer.wait(30) == 0
