from pathlib import Path

import pytest

from reprise.doctor.check import CheckFailedError
from reprise.doctor.checks.event_log import check_log, check_topics
from reprise.log import DEAD_LETTERS, EVENTS, TOPICS, EventLogSettings, LogUnavailableError, Topic
from reprise.log.backend import describe_log, inspect_topics
from reprise.log.embedded.topic_database import TopicDatabase
from reprise.log.topics import ConfigDifference, TopicStatus


def say(_: str) -> None: ...


def states(*changed: TopicStatus) -> list[TopicStatus]:
    by_name = {state.topic.name: state for state in changed}
    return [by_name.get(topic.name, TopicStatus(topic)) for topic in TOPICS]


def test_a_log_that_is_away_comes_with_what_to_look_at() -> None:
    def away() -> str:
        raise LogUnavailableError("Kafka at k:9092: connecting: NoBrokersAvailable")

    with pytest.raises(CheckFailedError, match="NoBrokersAvailable") as failed:
        check_log(away)
    assert "KAFKA_SERVERS" in failed.value.remedy.advice
    assert failed.value.remedy.section == "the-log-is-away"


def test_a_topic_that_differs_fails_with_the_difference() -> None:
    wrong = TopicStatus(EVENTS, differences=(ConfigDifference("partitions", "6", "2"),))
    with pytest.raises(CheckFailedError, match="partitions is 2, declared 6") as failed:
        check_topics(lambda: states(wrong), embedded=False, report=say)
    assert "reprise topics" in failed.value.remedy.advice
    assert failed.value.remedy.section == "topics-are-not-as-declared"


def test_a_topic_that_is_missing_in_kafka_fails_and_in_the_embedded_log_is_not_made_yet() -> None:
    missing = TopicStatus(DEAD_LETTERS, missing=True)
    with pytest.raises(CheckFailedError, match=f"{DEAD_LETTERS.name}: missing"):
        check_topics(lambda: states(missing), embedded=False, report=say)
    seen = check_topics(lambda: states(missing), embedded=True, report=say)
    assert DEAD_LETTERS.name not in seen.text


def test_an_embedded_log_without_events_is_that_of_nobody(tmp_path: Path) -> None:
    settings = EventLogSettings.load(log_dir=tmp_path)
    with pytest.raises(CheckFailedError, match=f"{EVENTS.name}: missing") as failed:
        check_topics(lambda: inspect_topics(settings, TOPICS), embedded=True, report=say)
    assert "REPRISE_LOG_DIR" in failed.value.remedy.advice
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_log_is_looked_at_and_not_changed(tmp_path: Path) -> None:
    settings = EventLogSettings.load(log_dir=tmp_path / "log")
    with pytest.raises(LogUnavailableError, match="no such folder"):
        describe_log(settings)
    TopicDatabase(settings.log_dir, EVENTS).close()
    TopicDatabase(settings.log_dir, Topic(DEAD_LETTERS.name, partitions=4)).close()
    assert str(settings.log_dir) in describe_log(settings)
    found = {state.topic.name: state.describe() for state in inspect_topics(settings, TOPICS)}
    assert found[EVENTS.name] == f"{EVENTS.name}: as declared"
    assert "partitions is 4, declared 1" in found[DEAD_LETTERS.name]
    assert len(list(settings.log_dir.iterdir())) == 2
