"""A dead letter in Kafka is replayed once."""

import orjson
import pytest
from click.testing import CliRunner

from reprise.dlq.main import command
from reprise.log import DEAD_LETTERS, EVENTS, open_producer
from support.kafka import KafkaBroker

pytestmark = pytest.mark.kafka


def test_letter_is_corrected_and_replayed_once(kafka_broker: KafkaBroker) -> None:
    event = {"event_id": "dlq-e", "user_id": "u", "product_id": "p", "event_type": "purchase", "amount": -1}
    value = orjson.dumps(event | {"timestamp": "2026-01-01T00:00:00Z"}).decode()
    source = {"topic": EVENTS.name, "partition": 3, "offset": 2**40, "timestamp_ms": 1}
    letter = orjson.dumps({"reason": "on Kafka", **source, "value": value})
    log = open_producer(kafka_broker.settings())
    log.append(DEAD_LETTERS.name, b"u", letter).result(30)
    log.close(10)
    replay = ["replay", "--all", "--reason", "on Kafka", "--set", "amount=1"]
    words = [*replay, "--servers", kafka_broker.servers]
    first, second = (CliRunner().invoke(command, words, catch_exceptions=False) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "appended as" in first.stdout
    assert second.stdout == ""
    assert "was replayed as" in second.stderr
