"""The doctor on a Kafka that keeps to its rules, with no more of them than the documentation asks for."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
)

from reprise.log import TOPICS, EventLogSettings, LogUnavailableError
from reprise.log.backend import describe_log, inspect_topics
from reprise.log.kafka.topics import ensure_topics
from support.kafka import KafkaBroker, MissingKafkaError, kafka_jars
from support.redis import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ROOT = Path(__file__).parents[3]
USERS = {"doctor": "of-doctor", "half-doctor": "of-half"}
"""The second may not ask for settings."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address at which a broker asks for a name and keeps to its rules."""
    try:
        jars = kafka_jars()
    except MissingKafkaError as error:
        pytest.skip(str(error))
    address = f"127.0.0.1:{free_port()}"
    broker = KafkaBroker(tmp_path_factory.mktemp("guarded"), jars, scram_users=USERS)
    plain = f"PLAINTEXT://{broker.servers}"
    extra = {
        "listeners": f"{plain},CONTROLLER://127.0.0.1:{broker.controller_port},SASL_PLAINTEXT://{address}",
        "advertised.listeners": f"{plain},SASL_PLAINTEXT://{address}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    broker = replace(broker, extra=extra)
    broker.format()
    try:
        broker.start()
        ensure_topics(broker.settings(), TOPICS)
        _allow(broker, "doctor", [ACLOperation.DESCRIBE, ACLOperation.DESCRIBE_CONFIGS])
        _allow(broker, "half-doctor", [ACLOperation.DESCRIBE])
        yield address
    finally:
        broker.kill()


def _allow(broker: KafkaBroker, user: str, operations: Sequence[ACLOperation]) -> None:
    topics = ResourcePattern(ResourceType.TOPIC, "ecommerce-", ACLResourcePatternType.PREFIXED)
    admin = KafkaAdminClient(bootstrap_servers=broker.servers)
    try:
        made = admin.create_acls(
            [ACL(f"User:{user}", "*", each, ACLPermissionType.ALLOW, topics) for each in operations]
        )
        assert made["failed"] == []
    finally:
        admin.close()


def settings(address: str, user: str) -> EventLogSettings:
    return EventLogSettings.load(
        kafka_servers=address,
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_username=user,
        kafka_password=USERS[user],
        kafka_connect_seconds=5.0,
    )


def test_the_rights_of_the_documentation_are_enough(guarded: str) -> None:
    assert "| `reprise doctor` | `DESCRIBE`, `DESCRIBE_CONFIGS`," in (ROOT / "docs/kafka.md").read_text()
    assert describe_log(settings(guarded, "doctor")) == f"Kafka at {guarded}, brokers: 1"
    assert all(state.is_as_declared for state in inspect_topics(settings(guarded, "doctor"), TOPICS))


def test_a_user_who_may_not_ask_for_settings_is_told_which_right_is_missing(guarded: str) -> None:
    with pytest.raises(LogUnavailableError, match="the user needs DESCRIBE_CONFIGS"):
        inspect_topics(settings(guarded, "half-doctor"), TOPICS)
