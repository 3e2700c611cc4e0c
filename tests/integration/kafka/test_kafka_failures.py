"""What Kafka can do wrong comes out as the log's own errors, and nothing is lost or doubled by it."""

import itertools
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
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
def freezable_broker(kafka_broker: KafkaBroker) -> Iterator[KafkaBroker]:
    """The session's broker, for a test that freezes it; running again afterwards."""
    yield kafka_broker
    kafka_broker.signal(signal.SIGCONT)


@dataclass(frozen=True)
class Outage:
    """What clients of a broker see that is killed while they write and read, and started again.

    Attributes:
        offsets: Of 3,000 records of one key, some of them written while the broker was away.
        records: What a consumer read of these after the 10 that it had committed before.
        failure: Of a record of a producer with a delivery timeout of two seconds.
        problems: That producer's, while the broker was away and after its next record was written.
    """

    offsets: list[int]
    records: list[Record]
    failure: BaseException | None
    problems: tuple[str | None, str | None]


@pytest.fixture(scope="module")
def outage(session_kafka_broker: KafkaBroker) -> Iterator[Outage]:
    session_kafka_broker.reset_topics()
    try:
        yield _outage(session_kafka_broker)
    finally:
        if not session_kafka_broker.is_running:
            session_kafka_broker.start()


def _outage(broker: KafkaBroker) -> Outage:
    producer, hasty = (
        open_producer(broker.settings()),
        open_producer(broker.settings(kafka_delivery_seconds=2.0)),
    )
    found: dict[int, list[Record]] = {}
    consumer = open_consumer(broker.settings(), EVENTS, "readers", forget_when_assigned(found))

    def append(numbers: range) -> list[Future[Position]]:
        return [producer.append(EVENTS.name, b"u1", str(number).encode()) for number in numbers]

    futures = append(range(10))
    drain(consumer, 10, found)
    consumer.commit({partition: len(records) for partition, records in found.items()})
    found.clear()
    hasty.append(PREDICTIONS.name, b"u", b"v").result(TIMEOUT)
    futures += append(range(10, 1000))
    broker.kill()
    futures += append(range(1000, 2000))
    failure = hasty.append(PREDICTIONS.name, b"u", b"v").exception(TIMEOUT)
    problem = hasty.problem()
    broker.start()
    futures += append(range(2000, 3000))
    offsets = [future.result(60).offset for future in futures]
    (records,) = drain(consumer, 2990, found).values()
    hasty.append(PREDICTIONS.name, b"u", b"v").result(TIMEOUT)
    seen = Outage(offsets, records, failure, (problem, hasty.problem()))
    consumer.close()
    for each in (producer, hasty):
        each.close(TIMEOUT)
    return seen


def test_records_of_a_key_are_written_once_and_in_order_over_a_crash_of_the_broker(outage: Outage) -> None:
    assert outage.offsets == list(range(3000))
    assert [int(record.value) for record in outage.records] == list(range(10, 3000))


def test_consumer_goes_on_where_it_was_after_a_crash_of_the_broker(outage: Outage) -> None:
    assert [record.offset for record in outage.records] == list(range(10, 3000))


def test_append_fails_after_the_delivery_time_and_the_problem_says_so(
    outage: Outage, session_kafka_broker: KafkaBroker
) -> None:
    assert isinstance(outage.failure, LogUnavailableError)
    assert session_kafka_broker.servers in str(outage.failure)
    during, after = outage.problems
    assert session_kafka_broker.servers in (during or "")
    assert after is None


def test_append_is_refused_when_too_much_waits_and_close_fails_what_waits(
    freezable_broker: KafkaBroker,
) -> None:
    producer = open_producer(freezable_broker.settings(log_buffer_bytes=10_000))
    freezable_broker.signal(signal.SIGSTOP)
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
    freezable_broker: KafkaBroker,
) -> None:
    settings = freezable_broker.settings(kafka_delivery_seconds=2.0, kafka_connect_seconds=1.0)
    producer, closed = (KafkaLogProducer(settings, make_client=deaf_at_first()) for _ in range(2))
    held = [each.append(EVENTS.name, b"u", b"lost") for each in (producer, closed)]
    freezable_broker.signal(signal.SIGSTOP)
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
    freezable_broker.signal(signal.SIGCONT)
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
    admin = KafkaAdminClient(bootstrap_servers=kafka_broker.servers)
    admin.delete_records({TopicPartition(EVENTS.name, partition): 4})
    admin.close()
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


def test_topic_that_is_deleted_ends_its_consumer(kafka_broker: KafkaBroker) -> None:
    producer = open_producer(kafka_broker.settings())
    append_all(producer, ["a"])
    producer.close(TIMEOUT)
    consumer = open_consumer(kafka_broker.settings(kafka_connect_seconds=1.0), EVENTS, "readers")
    drain(consumer, 1)
    admin = KafkaAdminClient(bootstrap_servers=kafka_broker.servers)
    admin.delete_topics([EVENTS.name])
    admin.close()
    with pytest.raises(TopicGoneError, match="topic 'ecommerce-events' was deleted"):
        poll_until(lambda: False, consumer)
    consumer.close()


def opened(settings: EventLogSettings) -> list[Callable[[], Any]]:
    return [lambda: open_producer(settings), lambda: open_consumer(settings, EVENTS, "readers")]


def test_missing_topic_is_named_with_the_command_that_makes_it(kafka_broker: KafkaBroker) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka_broker.servers)
    admin.delete_topics([EVENTS.name])
    admin.close()
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


def test_partition_chosen_is_that_of_a_plain_kafka_client(kafka_broker: KafkaBroker) -> None:
    keys = [f"user-{number}".encode() for number in range(50)]
    plain = KafkaProducer(bootstrap_servers=kafka_broker.servers)
    theirs = [plain.send(EVENTS.name, b"v", key).get(TIMEOUT).partition for key in keys]
    plain.close()
    producer = open_producer(kafka_broker.settings())
    ours = [producer.append(EVENTS.name, key, b"v").result(TIMEOUT).partition for key in keys]
    producer.close(TIMEOUT)
    assert ours == theirs


def test_kafka_that_is_away_is_reported_with_its_address() -> None:
    address = f"127.0.0.1:{free_port()}"
    settings = EventLogSettings.load(kafka_servers=address, kafka_connect_seconds=0.3)
    for use in opened(settings):
        with pytest.raises(LogUnavailableError, match=address):
            use()
