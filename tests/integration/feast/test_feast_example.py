"""The example in docs/feast.md does what it says, on a real broker."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reprise.log import TOPICS
from reprise.log.kafka.topics import ensure_topics
from support.feast_repository import FeastRepository
from support.kafka import MissingKafkaError, kafka_jars, running_kafka
from support.redis import RedisServer

pytestmark = [pytest.mark.feast, pytest.mark.redis, pytest.mark.kafka]

DOCUMENT = Path(__file__).parents[3] / "docs" / "feast.md"


def example() -> tuple[str, str]:
    """The two pieces: what publishes, and what reads."""
    section = DOCUMENT.read_text().split("## An event, and what it changes")[1].split("\n## ")[0]
    publish, read = [piece.split("```")[0] for piece in section.split("```python\n")[1:]]
    return publish, read


def test_the_documented_example_changes_the_documented_features(
    applied: FeastRepository,
    redis_server: RedisServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    try:
        kafka_jars()
    except MissingKafkaError as error:
        pytest.skip(str(error))
    (tmp_path / "feature_repo").symlink_to(applied.path)
    publish, read = example()
    with running_kafka() as broker:
        ensure_topics(broker.settings(), TOPICS)
        for name, value in {**applied.environment, "KAFKA_SERVERS": broker.servers}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        for expected in ("[12.5] [1.0]", "[25.0] [2.0]"):
            exec(publish, {})
            fold_what_is_there(applied)
            exec(read, {})
            assert capsys.readouterr().out.splitlines()[-1] == expected


def fold_what_is_there(repository: FeastRepository) -> None:
    plan = str(repository.path / "plan" / "plan.json")
    command = [str(Path(sys.executable).parent / "reprise"), "materialize", "--plan", plan]
    command += ["--host", "127.0.0.1", "--port", "0", "--until-idle", "1"]
    done = subprocess.run(
        command, env=dict(os.environ), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-3_000:]
