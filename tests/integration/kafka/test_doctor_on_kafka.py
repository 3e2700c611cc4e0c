"""The doctor on Kafka, and without its topic; the last test makes the topic of events again, with another id."""

import time
from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient

from reprise.log import EVENTS, TOPICS
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


def test_kafka_stopped(platform: SmallPlatform) -> None:
    nobody = f"127.0.0.1:{platform.ports['producer']}"  # it speaks HTTP
    examined = platform.examine("--json", "--servers", nobody, KAFKA_CONNECT_SECONDS="2")
    assert (examined.failed, examined.status) == (["log"], 1), examined.output
    assert "KAFKA_SERVERS" in examined.checks["log"]["advice"]
    assert examined.checks["log"]["runbook"] == "docs/operations.md#the-log-is-away"
    assert examined.checks["topics"]["seen"] == "needs log, see there"


def test_a_platform_on_kafka_passes_until_its_topic_of_events_is_missing(
    platform: SmallPlatform, session_kafka_broker: KafkaBroker
) -> None:
    examined = platform.examine("--json")
    assert (examined.failed, examined.status) == ([], 0), examined.output + examined.errors
    assert examined.checks["log"]["seen"] == f"Kafka at {session_kafka_broker.servers}, brokers: 1"
    assert examined.checks["canary"]["status"] == "ok"
    admin = KafkaAdminClient(bootstrap_servers=session_kafka_broker.servers)
    try:
        admin.delete_topics([EVENTS.name])
        while EVENTS.name in admin.list_topics():
            time.sleep(0.02)
        examined = platform.examine("--json")
    finally:
        admin.close()
        # A producer without its topic takes long to stop
        ensure_topics(session_kafka_broker.settings(), TOPICS)
    assert (examined.failed, examined.status) == (["topics"], 1), examined.output
    check = examined.checks["topics"]
    assert f"{EVENTS.name}: missing" in check["seen"]
    assert "reprise topics" in check["advice"]
    assert check["runbook"] == "docs/operations.md#topics-are-not-as-declared"
    assert examined.checks["canary"]["status"] == "skipped"
