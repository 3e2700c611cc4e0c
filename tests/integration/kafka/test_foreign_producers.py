"""Topics as other people write them: transactions, committed, aborted and open, and every codec."""

import threading
from pathlib import Path

import pytest
from kafka import KafkaProducer
from prometheus_client import CollectorRegistry

from reprise.archive import OfflineStore, events_dataset
from reprise.archiver.runner import archive_until_idle
from reprise.archiver.settings import ArchiverSettings
from reprise.events import encode_event
from reprise.log import EVENTS, open_consumer
from reprise.materializer import runner
from reprise.materializer.metrics import MaterializerMetrics
from reprise.materializer.settings import MaterializerSettings
from support.histories import PLAN_FILE, make_events
from support.kafka import KafkaBroker
from support.log_contract import drain, poll_until
from support.redis import RedisServer
from support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.redis]


def test_what_a_transaction_rolled_back_is_neither_folded_nor_archived_nor_lost(
    kafka_broker: KafkaBroker, redis_server: RedisServer, tmp_path: Path
) -> None:
    events = make_events(8)
    producer = KafkaProducer(bootstrap_servers=kafka_broker.servers, transactional_id="shop")
    producer.init_transactions()

    def write(*numbers: int) -> None:
        producer.begin_transaction()
        for number in numbers:
            producer.send(EVENTS.name, encode_event(events[number]), b"u", partition=0)
        producer.flush()

    write(0, 1)
    producer.abort_transaction()
    write(2, 3)
    producer.commit_transaction()
    write(4)
    producer.abort_transaction()
    write(5)
    producer.commit_transaction()
    kept = [events[number] for number in (2, 3, 5)]

    consumer = open_consumer(kafka_broker.settings(), EVENTS, "reader")
    (records,) = drain(consumer, 3).values()
    assert [record.value for record in records] == [encode_event(event) for event in kept]
    assert [(record.offset, record.absent) for record in records] == [(3, 3), (4, 0), (8, 3)]
    write(6)
    # the open transaction begins after the last marker, and nothing waits
    poll_until(lambda: consumer.positions()[0] == 10, consumer)
    assert consumer.end_offsets()[0] == 10
    consumer.close()
    producer.abort_transaction()
    producer.close()

    offline = str(tmp_path / "offline")
    kafka = {"kafka_servers": kafka_broker.servers, "kafka_session_seconds": 2.0}
    archived = archive_until_idle(ArchiverSettings.load(offline_store=offline, **kafka), 0.3)
    assert archived[EVENTS.name] == 3
    assert events_dataset(OfflineStore(offline)).column("event_id").to_pylist() == [e.event_id for e in kept]
    settings = MaterializerSettings.load(
        plan=PLAN_FILE, redis_host=redis_server.host, redis_port=redis_server.port, **kafka
    )
    metrics, stop = MaterializerMetrics(CollectorRegistry()), threading.Event()
    folded = metrics.events.labels("folded")._value
    with runner.open_worker(settings, metrics) as worker:
        thread = threading.Thread(target=worker.run, args=(stop,))
        thread.start()
        try:
            wait_until("three events are folded", lambda: folded.get() >= 3, 60.0, 0.05)
        finally:
            stop.set()
            thread.join()
    assert folded.get() == 3


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_every_codec_is_read(kafka_broker: KafkaBroker, codec: str) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka_broker.servers, compression_type=codec)
    for _ in range(20):
        producer.send(EVENTS.name, b"v" * 300, b"u", partition=0)
    producer.close()
    consumer = open_consumer(kafka_broker.settings(), EVENTS, codec)
    (records,) = drain(consumer, 20).values()
    consumer.close()
    assert [record.value for record in records] == [b"v" * 300] * 20
