"""A broker that speaks TLS, asks for a name and a password, and keeps to its access rules."""

import datetime as dt
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reprise.log import TOPICS, EventLogSettings
from reprise.log.kafka.topics import ensure_topics
from support.kafka import KafkaBroker, MissingKafkaError, kafka_jars
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


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def authority(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(1)).not_valid_after(now + dt.timedelta(1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.sign(key, hashes.SHA256()), key


def server_pem(ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().issuer_name(ca.subject).public_key(key.public_key())
    builder = builder.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")]))
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(1)).not_valid_after(now + dt.timedelta(1))
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(ca_key, hashes.SHA256())
    return pem(key) + certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="session")
def secured_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """The broker with the declared topics, started once for the session."""
    try:
        jars = kafka_jars()
    except MissingKafkaError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("secure-kafka")
    ca, ca_key = authority("test authority")
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (folder / "server.pem").write_bytes(server_pem(ca, ca_key))
    address = f"127.0.0.1:{free_port()}"
    broker = KafkaBroker(folder, jars, scram_users=USERS)
    plain = f"PLAINTEXT://{broker.servers}"
    extra = {
        "listeners": f"{plain},CONTROLLER://127.0.0.1:{broker.controller_port},SASL_SSL://{address}",
        "advertised.listeners": f"{plain},SASL_SSL://{address}",
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
    broker = replace(broker, extra=extra)
    broker.format()
    try:
        broker.start()
        ensure_topics(broker.settings(), TOPICS)
        yield SecuredKafka(broker, address, folder / "ca.pem")
    finally:
        broker.kill()


@pytest.fixture
def other_ca_file(tmp_path: Path) -> Path:
    """The certificate of an authority that did not sign the broker's."""
    other, _ = authority("another authority")
    path = tmp_path / "other.pem"
    path.write_bytes(other.public_bytes(serialization.Encoding.PEM))
    return path
