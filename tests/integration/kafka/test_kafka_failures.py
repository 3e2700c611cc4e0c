"""What Kafka can do wrong comes out as the log's own errors, and nothing is lost or doubled by it."""

import itertools
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaConnectionError

from reprise.log import (
    EVENTS,
    PREDICTIONS,
    BufferFullError,
    ClosedError,
    EventLogSettings,
    LogTimeoutError,
    LogUnavailableError,
    OffsetOutOfRangeError,
    Position,
    Record,
    TopicGoneError,
    open_consumer,
    open_producer,
)
from reprise.log.kafka.producer import KafkaLogProducer
from support.kafka import KafkaBroker
from support.log_contract import TIMEOUT, append_all, drain, forget_when_assigned, poll_until
from support.redis import free_port
from support.waiting import wait_until

pytestmark = pytest.mark.kafka


@pytest.fixture
def mortal_broker(kafka_broker: KafkaBroker) -> Iterator[KafkaBroker]:
    """The session's broker, for a test that freezes or kills it; running again afterwards."""
    yield kafka_broker
    if kafka_broker.is_running:
        kafka_broker.signal(signal.SIGCONT)
    else:
        kafka_broker.start()


def test_crash_of_the_broker_loses_and_doubles_nothing_and_fails_what_waits_too_long(
    mortal_broker: KafkaBroker,
) -> None:
    producer = open_producer(mortal_broker.settings(kafka_delivery_seconds=120.0))
    hasty = open_producer(mortal_broker.settings(kafka_delivery_seconds=2.0))
    found: dict[int, list[Record]] = {}
    consumer = open_consumer(mortal_broker.settings(), EVENTS, "readers", forget_when_assigned(found))

    def append(numbers: range) -> list[Future[Position]]:
        return [producer.append(EVENTS.name, b"u1", str(number).encode()) for number in numbers]

    futures = append(range(10))
    drain(consumer, 10, found)
    consumer.commit({partition: len(records) for partition, records in found.items()})
    found.clear()
    hasty.append(PREDICTIONS.name, b"u", b"v").result(TIMEOUT)
    futures += append(range(10, 1000))
    mortal_broker.kill()
    futures += append(range(1000, 2000))
    failure = hasty.append(PREDICTIONS.name, b"u", b"v").exception(TIMEOUT)
    assert isinstance(failure, LogUnavailableError)
    assert mortal_broker.servers in str(failure)
    assert mortal_broker.servers in (hasty.problem() or "")
    mortal_broker.start()
    futures += append(range(2000, 3000))
    assert [future.result(120).offset for future in futures] == list(range(3000))
    (records,) = drain(consumer, 2990, found).values()
    assert [(record.offset, int(record.value)) for record in records] == [(n, n) for n in range(10, 3000)]
    hasty.append(PREDICTIONS.name, b"u", b"v").result(TIMEOUT)
    assert hasty.problem() is None
    consumer.close()
    for each in (producer, hasty):
        each.close(TIMEOUT)


def test_append_is_refused_when_too_much_waits_and_close_fails_what_waits(
    mortal_broker: KafkaBroker,
) -> None:
    producer = open_producer(mortal_broker.settings(log_buffer_bytes=10_000))
    mortal_broker.signal(signal.SIGSTOP)
    waiting = [producer.append(EVENTS.name, b"u", bytes(1000)) for _ in range(9)]
    started = time.monotonic()
    with pytest.raises(BufferFullError, match="9 records"):
        producer.append(EVENTS.name, b"u", bytes(1000))
    assert time.monotonic() - started < 0.1
    producer.close(0.5)
    assert time.monotonic() - started < 5
    assert all(isinstance(future.exception(0), LogTimeoutError) for future in waiting)


class DeafProducer(KafkaProducer):  # type: ignore[misc]
    """A client that waits for the answer to a request for its producer id, which never comes."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self._transaction_manager.has_in_flight_transactional_request = lambda: True


def deaf_at_first() -> Callable[..., KafkaProducer]:
    kinds = itertools.chain([DeafProducer], itertools.repeat(KafkaProducer))

    def make(**options: object) -> KafkaProducer:
        return next(kinds)(**options)

    return make


def test_client_that_stands_still_is_replaced_as_soon_as_kafka_is_there(
    mortal_broker: KafkaBroker,
) -> None:
    settings = mortal_broker.settings(kafka_delivery_seconds=2.0, kafka_connect_seconds=1.0)
    producer, closed = (KafkaLogProducer(settings, make_client=deaf_at_first()) for _ in range(2))
    held = [each.append(EVENTS.name, b"u", b"lost") for each in (producer, closed)]
    mortal_broker.signal(signal.SIGSTOP)
    # asked for problems only, as by a readiness probe: whoever is not ready is sent nothing
    for each in (producer, closed):
        noticed = lambda each=each: "is being replaced" in (each.problem() or "")  # noqa: E731
        wait_until("it is noticed", noticed, TIMEOUT, every=0.02)
    assert all(isinstance(future.exception(TIMEOUT), LogTimeoutError) for future in held)
    with pytest.raises(LogUnavailableError, match="is being replaced"):
        producer.append(EVENTS.name, b"u", b"refused")
    started = time.monotonic()
    closed.close(2.0)
    assert time.monotonic() - started < 5
    with pytest.raises(ClosedError):
        closed.append(EVENTS.name, b"u", b"refused")
    mortal_broker.signal(signal.SIGCONT)
    wait_until("it is replaced", lambda: producer.problem() is None, TIMEOUT, every=0.02)
    assert producer.append(EVENTS.name, b"u", b"written").result(TIMEOUT).offset == 0
    assert producer.buffered() == 0
    producer.close(TIMEOUT)


def commit(broker: KafkaBroker, offsets: dict[int, int]) -> None:
    """Commit offsets of the group that the tests read with."""
    consumer = open_consumer(broker.settings(), EVENTS, "readers")
    poll_until(lambda: len(consumer.assignment) == EVENTS.partitions, consumer)
    consumer.commit(offsets)
    consumer.close()


def test_offset_past_the_end_is_reported_not_skipped(kafka_broker: KafkaBroker) -> None:
    commit(kafka_broker, {0: 100})
    second = open_consumer(kafka_broker.settings(), EVENTS, "readers")
    with pytest.raises(OffsetOutOfRangeError, match="ecommerce-events"):
        poll_until(lambda: False, second)
    second.close()


def test_records_that_kafka_deleted_are_reported_and_where_the_rest_begins(kafka_broker: KafkaBroker) -> None:
    producer = open_producer(kafka_broker.settings())
    [partition] = {position.partition for position in append_all(producer, ["a"] * 10)}
    with closing(KafkaAdminClient(bootstrap_servers=kafka_broker.servers)) as admin:
        admin.delete_records({TopicPartition(EVENTS.name, partition): 4})
    commit(kafka_broker, {partition: 1})
    second = open_consumer(kafka_broker.settings(), EVENTS, "readers")
    with pytest.raises(OffsetOutOfRangeError, match="ecommerce-events"):
        poll_until(lambda: False, second)
    assert second.beginning_offsets()[partition] == 4
    assert second.positions()[partition] == 1
    second.close()
    producer.close(TIMEOUT)


def test_topic_that_is_made_anew_is_noticed_before_its_records_are_returned(
    kafka_broker: KafkaBroker,
) -> None:
    producer = open_producer(kafka_broker.settings())
    append_all(producer, ["a"])
    consumer = open_consumer(kafka_broker.settings(), EVENTS, "readers")
    before = consumer.topic_id
    drain(consumer, 1)
    producer.close(TIMEOUT)
    kafka_broker.reset_topics()
    producer = open_producer(kafka_broker.settings())
    append_all(producer, ["a"] * 3)
    with pytest.raises(TopicGoneError):
        poll_until(lambda: False, consumer)
    consumer.close()
    producer.close(TIMEOUT)
    again = open_consumer(kafka_broker.settings(), EVENTS, "readers")
    assert again.topic_id != before
    assert sum(map(len, drain(again, 3).values())) == 3
    again.close()


def delete_events(broker: KafkaBroker) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=broker.servers)) as admin:
        admin.delete_topics([EVENTS.name])


def test_topic_that_is_deleted_ends_its_consumer(kafka_broker: KafkaBroker) -> None:
    producer = open_producer(kafka_broker.settings())
    append_all(producer, ["a"])
    producer.close(TIMEOUT)
    consumer = open_consumer(kafka_broker.settings(kafka_connect_seconds=1.0), EVENTS, "readers")
    drain(consumer, 1)
    delete_events(kafka_broker)
    with pytest.raises(TopicGoneError, match="topic 'ecommerce-events' was deleted"):
        poll_until(lambda: False, consumer)
    consumer.close()


def opened(settings: EventLogSettings) -> list[Callable[[], Any]]:
    return [lambda: open_producer(settings), lambda: open_consumer(settings, EVENTS, "readers")]


def test_missing_topic_is_named_with_the_command_that_makes_it(kafka_broker: KafkaBroker) -> None:
    delete_events(kafka_broker)
    for use in opened(kafka_broker.settings(kafka_connect_seconds=3.0)):
        with pytest.raises(LogUnavailableError, match=r"no topic 'ecommerce-events'.*reprise topics"):
            use()


@pytest.mark.parametrize(
    ("client", "name", "use"),
    [(KafkaProducer, "partitions_for", 0), (KafkaConsumer, "partitions_for_topic", 1)],
)
def test_broker_that_goes_away_just_after_the_connection_is_waited_for(
    kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch, client: type, name: str, use: int
) -> None:
    look, lost = getattr(client, name), [2]

    def look_or_lose(self: object, topic: str) -> object:
        if lost[0]:
            lost[0] -= 1
            raise KafkaConnectionError("reset")
        return look(self, topic)

    monkeypatch.setattr(client, name, look_or_lose)
    found = opened(kafka_broker.settings())[use]()
    found.close(*((TIMEOUT,) if client is KafkaProducer else ()))
    assert lost == [0]
    lost[0] = 10**9
    with pytest.raises(
        LogUnavailableError, match="looking for topic 'ecommerce-events': KafkaConnectionError"
    ):
        opened(kafka_broker.settings(kafka_connect_seconds=0.3))[use]()


def test_kafka_that_is_away_is_reported_with_its_address() -> None:
    address = f"127.0.0.1:{free_port()}"
    settings = EventLogSettings.load(kafka_servers=address, kafka_connect_seconds=0.3)
    for use in opened(settings):
        with pytest.raises(LogUnavailableError, match=address):
            use()
