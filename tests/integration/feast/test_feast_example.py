"""The examples in docs/feast.md and docs/kafka.md do what the pages say, on a real broker."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.feast_repository import FeastRepository
from support.kafka import KafkaBroker
from support.redis import RedisServer
from support.waiting import wait_until

pytestmark = [pytest.mark.feast, pytest.mark.redis, pytest.mark.kafka, pytest.mark.slow, pytest.mark.soak]

DOCS = Path(__file__).parents[3] / "docs"
REPRISE = str(Path(sys.executable).parent / "reprise")


@pytest.fixture
def environment(
    kafka_broker: KafkaBroker,
    applied: FeastRepository,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, str]:
    """The variables of this process and of a materializer, on empty topics and an empty store."""
    variables = {
        **applied.environment,
        "KAFKA_SERVERS": kafka_broker.servers,
        "REPRISE_PLAN": str(applied.path / "plan" / "plan.json"),
        "API_HOST": "127.0.0.1",
        "API_PORT": "0",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def test_the_example_of_the_page_on_feast_changes_the_documented_features(
    environment: dict[str, str],
    applied: FeastRepository,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    section = (DOCS / "feast.md").read_text().split("## An event, and what it changes")[1].split("\n## ")[0]
    publish, read = [piece.split("```")[0] for piece in section.split("```python\n")[1:]]
    (tmp_path / "feature_repo").symlink_to(applied.path)
    monkeypatch.chdir(tmp_path)
    for expected in ("[12.5] [1.0]", "[25.0] [2.0]"):
        exec(publish, {})
        command = [REPRISE, "materialize", "--until-idle", "1"]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr[-3_000:]
        exec(read, {})
        assert capsys.readouterr().out.splitlines()[-1] == expected


def test_the_event_of_the_page_on_kafka_is_what_feast_answers_with(
    environment: dict[str, str],
    kafka_broker: KafkaBroker,
    applied: FeastRepository,
    capsys: pytest.CaptureFixture[str],
) -> None:
    publish, ask = re.findall(r"```python\n(.*?)```", (DOCS / "kafka.md").read_text(), re.DOTALL)
    assert "localhost:9092" in publish
    assert '"feature_repo"' in ask
    materializer = subprocess.Popen([REPRISE, "materialize"], env=environment)
    try:
        names: dict[str, object] = {}
        exec(publish.replace("localhost:9092", kafka_broker.servers), names)

        def answer() -> str | None:
            exec(ask.replace('"feature_repo"', repr(str(applied.path))), names)
            said = capsys.readouterr().out.strip()
            return said if "12.5" in said else None

        assert wait_until("Feast answers with the event", answer, 120, every=0.1) == "[12.5]"
        names["producer"].close()  # type: ignore[attr-defined]
    finally:
        materializer.terminate()
        assert materializer.wait(60) == 0
