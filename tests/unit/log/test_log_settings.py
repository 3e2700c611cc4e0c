"""Settings of Kafka that contradict one another are refused, and secrets stay secret."""

import pytest
from kafka.cluster import collect_hosts

from reprise.log import EventLogSettings
from reprise.log.kafka.connection import client_options
from reprise.runtime.exceptions import InvalidSettingsError


@pytest.fixture(autouse=True)
def _no_kafka_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EventLogSettings.env_names().values():
        monkeypatch.delenv(name, raising=False)


SASL = {"kafka_servers": "a:1", "kafka_security_protocol": "SASL_SSL"}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        *(
            ({"kafka_servers": servers}, r"KAFKA_SERVERS.*host:port")
            for servers in ("kafka", "kafka:", ":9092", "a:1,b", "a:70000", "a:1,,b:2")
        ),
        *(
            (SASL | user, "KAFKA_USERNAME and KAFKA_PASSWORD")
            for user in ({}, {"kafka_username": "u"}, {"kafka_password": "hunter2"})
        ),
        (
            {"kafka_servers": "a:1", "kafka_password": "hunter2"},
            "KAFKA_PASSWORD is set but would not be used",
        ),
        ({"kafka_servers": "a:1", "kafka_ca_file": "/nowhere/none.pem"}, "KAFKA_CA_FILE"),
    ],
)
def test_invalid_settings_are_refused_without_showing_the_password(
    given: dict[str, str], reason: str
) -> None:
    with pytest.raises(InvalidSettingsError, match=reason) as caught:
        EventLogSettings.load(**given)
    assert "hunter2" not in str(caught.value)


def test_servers_may_have_spaces_between_them_and_ipv6_addresses_brackets() -> None:
    servers = client_options(EventLogSettings.load(kafka_servers="a:1, [fd00::1]:9092"))["bootstrap_servers"]
    assert servers == ["a:1", "[fd00::1]:9092"]
    assert collect_hosts(servers[1:])[0][:2] == ("fd00::1", 9092)


def test_password_is_not_in_the_settings_text() -> None:
    settings = EventLogSettings.load(**SASL, kafka_username="u", kafka_password="hunter2")
    assert "hunter2" not in repr(settings)
    assert client_options(settings)["sasl_plain_password"] == "hunter2"
