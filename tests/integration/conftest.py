"""The Kafka broker that all tests share."""

from collections.abc import Iterator

import pytest

from support.kafka import KafkaBroker, running_kafka


@pytest.fixture(scope="session")
def session_kafka_broker() -> Iterator[KafkaBroker]:
    """One real broker for the whole session."""
    with running_kafka() as broker:
        yield broker


@pytest.fixture
def kafka_broker(session_kafka_broker: KafkaBroker) -> KafkaBroker:
    """The session's broker with the declared topics, empty; a test that ends one starts its own instead."""
    session_kafka_broker.reset_topics()
    return session_kafka_broker
