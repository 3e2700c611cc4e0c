"""TLS with a CA file and SCRAM are asked of Kafka, and what is wrong with them is said."""

import datetime as dt
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reprise.log import EVENTS, EventLogSettings, LogUnavailableError, open_consumer, open_producer
from reprise.log.kafka.topics import ensure_topics
from reprise.log.topics import TOPICS
from support.kafka import KafkaBroker, MissingKafkaError, kafka_jars
from support.log_contract import TIMEOUT, append_all, drain
from support.redis import free_port

pytestmark = pytest.mark.kafka

USER, PASSWORD = "reprise", "correct horse"


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


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a broker that speaks TLS and asks for SCRAM, and the file of its authority."""
    try:
        jars = kafka_jars()
    except MissingKafkaError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("secure-kafka")
    ca, ca_key = authority("test authority")
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (folder / "server.pem").write_bytes(server_pem(ca, ca_key))
    address = f"127.0.0.1:{free_port()}"
    broker = KafkaBroker(folder, jars, scram_users={USER: PASSWORD})
    plain = f"PLAINTEXT://{broker.servers}"
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    extra = {
        "listeners": f"{plain},CONTROLLER://127.0.0.1:{broker.controller_port},SASL_SSL://{address}",
        "advertised.listeners": f"{plain},SASL_SSL://{address}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": login,
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "server.pem"),
    }
    broker = replace(broker, extra=extra)
    broker.format()
    try:
        broker.start()
        ensure_topics(broker.settings(), TOPICS)
        yield address, folder / "ca.pem"
    finally:
        broker.kill()


def settings(address: str, ca_file: Path | None, password: str = PASSWORD) -> EventLogSettings:
    return EventLogSettings.load(
        kafka_servers=address,
        kafka_security_protocol="SASL_SSL",
        kafka_username=USER,
        kafka_password=password,
        kafka_ca_file=ca_file,
        kafka_connect_seconds=3.0,
        kafka_session_seconds=2.0,
    )


def test_records_go_through_tls_and_scram(secure: tuple[str, Path]) -> None:
    producer = open_producer(settings(*secure))
    append_all(producer, ["a", "b", "c"])
    producer.close(TIMEOUT)
    consumer = open_consumer(settings(*secure), EVENTS, "readers")
    assert sum(map(len, drain(consumer, 3).values())) == 3
    consumer.close()


def test_wrong_password_is_refused_without_being_shown(secure: tuple[str, Path]) -> None:
    with pytest.raises(LogUnavailableError) as caught:
        open_producer(settings(*secure, password="battery staple"))
    # the broker may hang up before the client has read why
    assert re.search(r"uthentication|disconnected", str(caught.value))
    assert "battery" not in str(caught.value)


def test_broker_of_another_authority_is_refused(secure: tuple[str, Path], tmp_path: Path) -> None:
    other, _ = authority("another authority")
    (tmp_path / "other.pem").write_bytes(other.public_bytes(serialization.Encoding.PEM))
    with pytest.raises(LogUnavailableError, match=r"(?i)certificate") as caught:
        open_producer(settings(secure[0], tmp_path / "other.pem"))
    assert secure[0] in str(caught.value)
