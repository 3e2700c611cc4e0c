"""A broker that speaks TLS, asks for a name and a password, and keeps to its access rules."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reprise.log import TOPICS, EventLogSettings
from reprise.log.kafka.topics import ensure_topics
from support.certificates import self_signed
from support.kafka import KafkaBroker, running_kafka
from support.redis import free_port

USERS = {"reprise": "correct horse", "doctor": "of-doctor", "half-doctor": "of-half"}
"""Passwords; the first user may do everything, the others nothing yet."""


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


@pytest.fixture(scope="session")
def secured_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """The broker with the declared topics, started once for the session."""
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
        yield SecuredKafka(broker, address, certificate)


@pytest.fixture
def other_ca_file(tmp_path: Path) -> Path:
    """The certificate of an authority that did not sign the broker's."""
    _, path = self_signed(tmp_path)
    return path
