"""The doctor on Kafka, and faults of its topics; the last test makes the topic of events again, with another id."""

import time
from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from reprise.log import DEAD_LETTERS, EVENTS, TOPICS
from reprise.log.kafka.topics import ensure_topics
from support.kafka import KafkaBroker
from support.redis import running_redis
from support.small_platform import SmallPlatform, small_platform

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.slow, pytest.mark.soak]


@pytest.fixture(scope="module")
def platform(
    session_kafka_broker: KafkaBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SmallPlatform]:
    session_kafka_broker.reset_topics()
    folder = tmp_path_factory.mktemp("platform")
    with running_redis() as redis, small_platform(folder, redis, session_kafka_broker.servers) as running:
        yield running


def topics_after(platform: SmallPlatform) -> dict[str, str]:
    """Return the statuses of all checks, of which only that of the topics has failed, with the advice for it."""
    examined = platform.examine("--json")
    assert (examined.failed, examined.status) == (["topics"], 1), examined.output
    check = examined.checks["topics"]
    assert "reprise topics" in check["advice"]
    assert check["runbook"] == "docs/operations.md#topics-are-not-as-declared"
    return {name: each["status"] for name, each in examined.checks.items()} | {"seen": check["seen"]}


def test_kafka_stopped(platform: SmallPlatform) -> None:
    nobody = f"127.0.0.1:{platform.ports['producer']}"  # it speaks HTTP
    examined = platform.examine("--json", "--servers", nobody, KAFKA_CONNECT_SECONDS="2")
    assert (examined.failed, examined.status) == (["log"], 1), examined.output
    assert "KAFKA_SERVERS" in examined.checks["log"]["advice"]
    assert examined.checks["log"]["runbook"] == "docs/operations.md#the-log-is-away"
    assert examined.checks["topics"]["seen"] == "needs log, see there"


def test_a_platform_on_kafka_is_well_until_its_topics_are_not_as_declared(
    platform: SmallPlatform, session_kafka_broker: KafkaBroker
) -> None:
    examined = platform.examine("--json")
    assert (examined.failed, examined.status) == ([], 0), examined.output + examined.errors
    assert examined.checks["log"]["seen"] == f"Kafka at {session_kafka_broker.servers}, brokers: 1"
    assert examined.checks["canary"]["status"] == "ok"
    admin = KafkaAdminClient(bootstrap_servers=session_kafka_broker.servers)
    try:
        _delete(admin, DEAD_LETTERS.name)
        missing = topics_after(platform)
        assert f"{DEAD_LETTERS.name}: missing" in missing["seen"]
        assert missing["canary"] == "ok"

        admin.create_topics({DEAD_LETTERS.name: {"num_partitions": 3}}, wait_for_metadata=True)
        assert "retention.ms is 604800000, declared 7776000000" in topics_after(platform)["seen"]

        _delete(admin, DEAD_LETTERS.name)
        ensure_topics(session_kafka_broker.settings(), TOPICS)
        admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, EVENTS.name, {"retention.ms": "1000000"})]
        )
        assert "retention.ms is 1000000, declared 1209600000" in topics_after(platform)["seen"]
    finally:
        admin.close()


def test_a_missing_topic_of_events_explains_what_follows_from_it(
    platform: SmallPlatform, session_kafka_broker: KafkaBroker
) -> None:
    admin = KafkaAdminClient(bootstrap_servers=session_kafka_broker.servers)
    try:
        _delete(admin, EVENTS.name)
        statuses = topics_after(platform)
    finally:
        admin.close()
        # A producer without its topic takes long to stop
        ensure_topics(session_kafka_broker.settings(), TOPICS)
    assert f"{EVENTS.name}: missing" in statuses["seen"]
    assert statuses["canary"] == "skipped"


def _delete(admin: KafkaAdminClient, topic: str) -> None:
    admin.delete_topics([topic])
    while topic in admin.list_topics():
        time.sleep(0.02)
