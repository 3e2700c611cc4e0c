"""Connections to Kafka by TLS with a CA file and SCRAM, and the error where either is wrong."""

import re
from pathlib import Path
from typing import Any

import pytest

from reprise.log import EVENTS, LogUnavailableError, open_consumer, open_producer
from support.log_contract import TIMEOUT, append_all, drain

pytestmark = pytest.mark.kafka


def test_records_go_through_tls_and_scram(secured_kafka: Any) -> None:
    producer = open_producer(secured_kafka.settings())
    append_all(producer, ["a", "b", "c"])
    producer.close(TIMEOUT)
    consumer = open_consumer(secured_kafka.settings(), EVENTS, "readers")
    assert sum(map(len, drain(consumer, 3).values())) == 3
    consumer.close()


def test_wrong_password_is_refused_without_being_shown(secured_kafka: Any) -> None:
    with pytest.raises(LogUnavailableError) as caught:
        open_producer(secured_kafka.settings(kafka_password="battery staple"))
    # the broker may hang up before the client has read why
    assert re.search(r"uthentication|disconnected", str(caught.value))
    assert "battery" not in str(caught.value)


def test_broker_of_another_authority_is_refused(secured_kafka: Any, other_ca_file: Path) -> None:
    with pytest.raises(LogUnavailableError, match=r"(?i)certificate") as caught:
        open_producer(secured_kafka.settings(kafka_ca_file=other_ca_file))
    assert secured_kafka.address in str(caught.value)
