"""The topics job makes what is missing, and leaves alone what exists."""

import time

import pytest
from click.testing import CliRunner, Result
from kafka import KafkaAdminClient

from reprise.log import DEAD_LETTERS, EVENTS, TOPICS
from reprise.topics.main import command
from support.kafka import KafkaBroker

pytestmark = pytest.mark.kafka


def run(broker: KafkaBroker, *options: str) -> Result:
    return CliRunner().invoke(command, ["--servers", broker.servers, *options], catch_exceptions=False)


def delete(admin: KafkaAdminClient, *topics: str) -> None:
    """Delete topics, and wait until the broker knows."""
    admin.delete_topics(list(topics))
    while set(admin.list_topics()) & set(topics):
        time.sleep(0.02)


@pytest.fixture
def admin(kafka_broker: KafkaBroker) -> KafkaAdminClient:
    client = KafkaAdminClient(bootstrap_servers=kafka_broker.servers)
    yield client
    client.close()


def test_topics_are_made_once_and_then_found_as_declared(
    kafka_broker: KafkaBroker, admin: KafkaAdminClient
) -> None:
    delete(admin, *(topic.name for topic in TOPICS))
    dry = run(kafka_broker, "--dry-run")
    assert (dry.exit_code, dry.output.count("missing")) == (1, len(TOPICS))
    first = run(kafka_broker)
    assert (first.exit_code, first.output.count("created")) == (0, len(TOPICS))
    second = run(kafka_broker)
    assert (second.exit_code, second.output.count("as declared")) == (0, len(TOPICS))
    assert {t["name"]: len(t["partitions"]) for t in admin.describe_topics([t.name for t in TOPICS])} == {
        topic.name: topic.partitions for topic in TOPICS
    }


def test_topic_with_other_settings_is_reported_and_not_changed(
    kafka_broker: KafkaBroker, admin: KafkaAdminClient
) -> None:
    delete(admin, EVENTS.name, DEAD_LETTERS.name)
    admin.create_topics(
        {EVENTS.name: {"num_partitions": 2, "configs": {"retention.ms": "1000"}}}, wait_for_metadata=True
    )
    result = run(kafka_broker)
    assert result.exit_code == 1
    assert "partitions is 2, declared 6" in result.output
    assert "retention.ms is 1000, declared 1209600000" in result.output
    assert f"{DEAD_LETTERS.name}: created" in result.output
    assert len(admin.describe_topics([EVENTS.name])[0]["partitions"]) == 2


def test_replication_that_the_brokers_cannot_give_is_refused_with_the_reason(
    kafka_broker: KafkaBroker, admin: KafkaAdminClient
) -> None:
    delete(admin, EVENTS.name)
    result = run(kafka_broker, "--replication", "3")
    assert result.exit_code == 1
    assert "replication" in result.output.lower()


def test_missing_servers_are_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_SERVERS", raising=False)
    result = CliRunner().invoke(command, [])
    assert result.exit_code == 2
    assert "KAFKA_SERVERS" in result.output
