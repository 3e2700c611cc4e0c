import pytest
from prometheus_client import CollectorRegistry

from reprise.producer.metrics import ProducerMetrics
from support.fake_log import FakeLogProducer


@pytest.fixture
def log() -> FakeLogProducer:
    return FakeLogProducer()


@pytest.fixture
def metrics(log: FakeLogProducer) -> ProducerMetrics:
    return ProducerMetrics(CollectorRegistry(), log.buffered)
