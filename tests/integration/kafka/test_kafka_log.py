"""Kafka keeps the log's contract, and reports what only Kafka can do wrong."""

import pytest

from reprise.log import EVENTS, LogConsumer, LogProducer, RebalanceListener, open_consumer, open_producer
from support.kafka import KafkaBroker
from support.log_contract import LogContract

pytestmark = pytest.mark.kafka


class TestKafkaLog(LogContract):
    @pytest.fixture(autouse=True)
    def _broker(self, kafka_broker: KafkaBroker) -> None:
        self.broker = kafka_broker

    def open_producer(self) -> LogProducer:
        return open_producer(self.broker.settings())

    def open_consumer(self, group: str, listener: RebalanceListener | None = None) -> LogConsumer:
        # nobody dies here, and on a busy machine a short session ends a consumer that is only slow
        return open_consumer(self.broker.settings(kafka_session_seconds=30.0), EVENTS, group, listener)
