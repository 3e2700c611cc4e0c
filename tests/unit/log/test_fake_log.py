from reprise.log import LogProducer
from support.fake_log import FakeLogProducer
from support.log_contract import ProducerContract


class TestFakeLog(ProducerContract):
    def open_producer(self) -> LogProducer:
        return FakeLogProducer()
