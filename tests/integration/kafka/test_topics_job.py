"""The topics job makes what is missing, and leaves alone what exists."""

import time
from contextlib import closing

import pytest
from click.testing import CliRunner, Result
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from reprise.log import DEAD_LETTERS, EVENTS, PREDICTIONS, TOPICS, open_consumer, open_producer
from reprise.log.kafka.topics import ensure_topics
from reprise.topics.main import command
from support.kafka import KafkaBroker
from support.waiting import wait_until

pytestmark = pytest.mark.kafka


def run(broker: KafkaBroker, *options: str, **environment: str) -> Result:
    runner = CliRunner(env=environment)
    return runner.invoke(command, ["--servers", broker.servers, *options], catch_exceptions=False)


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


def test_topics_have_the_partitions_of_the_settings_or_more_and_their_retention(
    kafka_broker: KafkaBroker, admin: KafkaAdminClient
) -> None:
    delete(admin, *(topic.name for topic in TOPICS))
    settings = {"KAFKA_PARTITIONS": "12", "KAFKA_PREDICTIONS_RETENTION": "72h"}
    assert run(kafka_broker, **settings).exit_code == 0
    found = admin.describe_topics([topic.name for topic in TOPICS])
    assert {topic["name"]: len(topic["partitions"]) for topic in found} == {
        topic.name: 12 if topic.by_user else 1 for topic in TOPICS
    }
    resource = ConfigResource(ConfigResourceType.TOPIC, PREDICTIONS.name, ["retention.ms"])
    config = admin.describe_configs([resource], config_filter="all")["topic"][PREDICTIONS.name]
    assert config["retention.ms"]["value"] == str(72 * 3_600_000)
    assert "partitions is 12, declared 24" in run(kafka_broker, KAFKA_PARTITIONS="24").output
    usual = run(kafka_broker)
    assert (usual.exit_code, usual.output.count("as declared")) == (1, len(TOPICS) - 1)
    assert "retention.ms is 259200000, declared 1209600000" in usual.output
    assert ensure_topics(kafka_broker.settings(), [EVENTS], dry_run=True)[0].topic.partitions == 12
    delete(admin, PREDICTIONS.name)
    assert run(kafka_broker).exit_code == 0


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


def test_a_prefix_keeps_installations_on_one_kafka_apart(
    kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_TOPIC_PREFIX", "shop.")
    assert f"shop.{EVENTS.name}: created" in run(kafka_broker).output
    own, others = kafka_broker.settings(), kafka_broker.settings(kafka_topic_prefix="")
    producer = open_producer(own)
    producer.append(EVENTS.name, b"ada", b"{}").result(30)
    producer.close(5)
    with closing(open_consumer(own, EVENTS, "own")) as consumer:
        wait_until("the record", lambda: consumer.poll(10, 0.1) or None, 30)
    with closing(open_consumer(others, EVENTS, "others")) as consumer:
        assert sum(consumer.end_offsets().values()) == 0
