"""A broker with TLS, passwords and access rules: the right credentials and rights are enough, wrong ones are named."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
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

from reprise.log import (
    EVENTS,
    TOPICS,
    EventLogSettings,
    LogRefusedError,
    LogUnavailableError,
    open_consumer,
    open_producer,
)
from reprise.log.backend import describe_log, inspect_topics
from reprise.log.kafka.topics import ensure_topics
from support.certificates import self_signed
from support.kafka import KafkaBroker, running_kafka
from support.log_contract import TIMEOUT, append_all, drain
from support.redis import free_port

pytestmark = pytest.mark.kafka

PAGE = Path(__file__).parents[3] / "docs/kafka.md"
USERS = {"reprise": "correct horse", "doctor": "of-doctor", "half-doctor": "of-half"}
"""Passwords; the first user may do everything, the last one may not ask for settings."""


@dataclass(frozen=True)
class SecuredKafka:
    """The broker, which takes plain connections from administrators, and its address for everybody else."""

    broker: KafkaBroker
    address: str
    ca_file: Path

    def settings(self, user: str = "reprise", **more: object) -> EventLogSettings:
        return EventLogSettings.load(
            **{
                "kafka_servers": self.address,
                "kafka_security_protocol": "SASL_SSL",
                "kafka_username": user,
                "kafka_password": USERS[user],
                "kafka_ca_file": self.ca_file,
                "kafka_connect_seconds": 3.0,
                **more,
            }
        )


@pytest.fixture(scope="module")
def secured_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """The broker with the declared topics and the doctor's rights."""
    folder = tmp_path_factory.mktemp("secure-kafka")
    key, certificate = self_signed(folder)
    (folder / "server.pem").write_bytes(key.read_bytes() + certificate.read_bytes())
    address = f"127.0.0.1:{free_port()}"
    extra = {
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "server.pem"),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:reprise",
    }
    with running_kafka(extra, listeners=(f"SASL_SSL://{address}",), scram_users=USERS) as broker:
        ensure_topics(broker.settings(), TOPICS)
        allow(broker, "doctor", ACLOperation.DESCRIBE, ACLOperation.DESCRIBE_CONFIGS)
        allow(broker, "half-doctor", ACLOperation.DESCRIBE)
        yield SecuredKafka(broker, address, certificate)


def allow(broker: KafkaBroker, user: str, *operations: ACLOperation) -> None:
    topics = ResourcePattern(ResourceType.TOPIC, "ecommerce-", ACLResourcePatternType.PREFIXED)
    rules = [ACL(f"User:{user}", "*", each, ACLPermissionType.ALLOW, topics) for each in operations]
    admin = KafkaAdminClient(bootstrap_servers=broker.servers)
    try:
        assert admin.create_acls(rules)["failed"] == []
    finally:
        admin.close()


def test_records_go_through_tls_and_scram(secured_kafka: SecuredKafka) -> None:
    producer = open_producer(secured_kafka.settings())
    append_all(producer, ["a", "b", "c"])
    producer.close(TIMEOUT)
    consumer = open_consumer(secured_kafka.settings(), EVENTS, "readers")
    assert sum(map(len, drain(consumer, 3).values())) == 3
    consumer.close()


def test_wrong_password_is_refused_without_being_shown(secured_kafka: SecuredKafka) -> None:
    with pytest.raises(LogUnavailableError) as caught:
        open_producer(secured_kafka.settings(kafka_password="battery staple"))
    # the broker may hang up before the client has read why
    assert re.search(r"uthentication|disconnected", str(caught.value))
    assert "battery" not in str(caught.value)


def test_broker_of_another_authority_is_refused(secured_kafka: SecuredKafka, tmp_path: Path) -> None:
    _, other_ca_file = self_signed(tmp_path)
    with pytest.raises(LogUnavailableError, match=r"(?i)certificate") as caught:
        open_producer(secured_kafka.settings(kafka_ca_file=other_ca_file))
    assert secured_kafka.address in str(caught.value)


def test_the_documented_rights_of_the_doctor_are_enough_and_a_missing_one_is_named(
    secured_kafka: SecuredKafka,
) -> None:
    assert "| `reprise doctor` | `DESCRIBE`, `DESCRIBE_CONFIGS`," in PAGE.read_text()
    settings = secured_kafka.settings("doctor")
    assert describe_log(settings) == f"Kafka at {secured_kafka.address}, brokers: 1"
    assert all(state.is_as_declared for state in inspect_topics(settings, TOPICS))
    with pytest.raises(LogRefusedError, match="the user needs DESCRIBE_CONFIGS"):
        inspect_topics(secured_kafka.settings("half-doctor"), TOPICS)
