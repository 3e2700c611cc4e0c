"""Topics as other people write them: transactions, committed, aborted and open, and what cannot be decoded."""

import threading
from collections import defaultdict
from pathlib import Path

import pytest
from kafka import KafkaProducer
from prometheus_client import CollectorRegistry

from reprise.archive import OfflineStore, events_dataset
from reprise.archiver.runner import archive_until_idle
from reprise.archiver.settings import ArchiverSettings
from reprise.events import encode_event
from reprise.forget.run import wait_for_archive
from reprise.forget.settings import ForgetSettings
from reprise.log import EVENTS, UnreadableRecordsError, open_consumer
from reprise.materializer import runner
from reprise.materializer.metrics import MaterializerMetrics
from reprise.materializer.settings import MaterializerSettings
from support.histories import PLAN_FILE, make_events
from support.kafka import KafkaBroker
from support.log_contract import RecordedRebalances, drain, poll_until
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
    # the marker of the last transaction is no record that the archive lacks
    wait_for_archive(
        ForgetSettings.load(offline_store=offline, timeout="20s", **kafka), OfflineStore(offline)
    )
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


class Latin1(str):
    """A name of a header that is no UTF-8, which the broker does not look at."""

    def encode(self, *_: object) -> bytes:
        return b"gr\xfc\xdfe"


def test_a_batch_that_cannot_be_decoded_pauses_its_partition_alone(kafka_broker: KafkaBroker) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka_broker.servers, compression_type="gzip")
    producer.send(EVENTS.name, b"good", b"u", partition=0).get(30)
    producer.send(EVENTS.name, b"v" * 300, b"u", partition=0, headers=[(Latin1("name"), b"")]).get(30)
    for _ in range(20):
        producer.send(EVENTS.name, b"w" * 300, b"u", partition=1)
    producer.flush()
    found: defaultdict[int, list[bytes]] = defaultdict(list)
    problems: list[str] = []

    def begin_again(_: object) -> None:
        found.clear()
        problems.clear()

    rebalances = RecordedRebalances(on_assigned=begin_again)
    consumer = open_consumer(kafka_broker.settings(), EVENTS, "reader", rebalances)

    def poll() -> None:
        try:
            polled = consumer.poll(1000, 0.1)
        except UnreadableRecordsError as error:
            problems.append(str(error))
            return
        for partition, records in polled.items():
            found[partition] += [record.value for record in records]

    def is_read() -> bool:
        poll()
        return bool(problems) and len(found[1]) == 20

    def goes_on() -> bool:
        poll()
        return found[1][-1:] == [b"later"]

    wait_until("partition 1 is read and 0 is named", is_read, 60.0, 0.0)
    producer.send(EVENTS.name, b"later", b"u", partition=1)
    producer.close()
    wait_until("partition 1 goes on", goes_on, 60.0, 0.0)
    for _ in range(10):
        poll()
    assert found == {0: [b"good"], 1: [*[b"w" * 300] * 20, b"later"]}
    (problem,) = problems
    assert problem.startswith("ecommerce-events, partition 0: offset 1 cannot be read: ")
    assert consumer.positions()[0] == 1
    consumer.close()
