"""Settings of Kafka that contradict one another are refused, and secrets stay secret."""

from pathlib import Path

import pytest
from kafka.cluster import collect_hosts

from reprise.log import EventLogSettings
from reprise.log.kafka.connection import client_options
from reprise.runtime.exceptions import InvalidSettingsError


@pytest.fixture(autouse=True)
def _no_kafka_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EventLogSettings.env_names().values():
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("servers", ["kafka", "kafka:", ":9092", "a:1,b", "a:70000", "a:1,,b:2"])
def test_server_that_is_no_address_is_refused(servers: str) -> None:
    with pytest.raises(InvalidSettingsError, match=r"KAFKA_SERVERS.*host:port"):
        EventLogSettings.load(kafka_servers=servers)


def test_several_servers_may_have_spaces_between_them() -> None:
    options = client_options(EventLogSettings.load(kafka_servers="a:1, b:2"))
    assert options["bootstrap_servers"] == ["a:1", "b:2"]


def test_a_server_may_be_an_ipv6_address_in_brackets() -> None:
    options = client_options(EventLogSettings.load(kafka_servers="[fd00::1]:9092"))
    assert collect_hosts(options["bootstrap_servers"])[0][:2] == ("fd00::1", 9092)


@pytest.mark.parametrize("given", [{}, {"kafka_username": "u"}, {"kafka_password": "p"}])
def test_sasl_without_user_and_password_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(InvalidSettingsError, match="KAFKA_USERNAME and KAFKA_PASSWORD"):
        EventLogSettings.load(kafka_servers="a:1", kafka_security_protocol="SASL_SSL", **given)


def test_password_that_would_not_be_used_is_refused_and_not_shown() -> None:
    with pytest.raises(InvalidSettingsError, match="KAFKA_PASSWORD is set but would not be used") as caught:
        EventLogSettings.load(kafka_servers="a:1", kafka_username="u", kafka_password="hunter2")
    assert "hunter2" not in str(caught.value)


def test_ca_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingsError, match="KAFKA_CA_FILE"):
        EventLogSettings.load(kafka_servers="a:1", kafka_ca_file=tmp_path / "none.pem")


def test_password_is_not_in_the_settings_text() -> None:
    settings = EventLogSettings.load(
        kafka_servers="a:1", kafka_security_protocol="SASL_SSL", kafka_username="u", kafka_password="hunter2"
    )
    assert "hunter2" not in repr(settings)
    assert client_options(settings)["sasl_plain_password"] == "hunter2"
