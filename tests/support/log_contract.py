"""What every implementation of the log has to do; a test class of each implementation inherits it."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest

from reprise.log import (
    EVENTS,
    ClosedError,
    LogConsumer,
    LogProducer,
    NotAssignedError,
    Position,
    RebalanceListener,
    Record,
    RecordTooLargeError,
)

TIMEOUT = 60.0


class RecordedRebalances:
    def __init__(
        self,
        on_revoked: Callable[[Sequence[int]], None] | None = None,
        on_assigned: Callable[[Sequence[int]], None] | None = None,
    ) -> None:
        self.told: list[tuple[str, tuple[int, ...]]] = []
        self._on_revoked = on_revoked
        self._on_assigned = on_assigned

    def revoked(self, partitions: Sequence[int]) -> None:
        self.told.append(("revoked", tuple(partitions)))
        if self._on_revoked is not None:
            self._on_revoked(partitions)

    def assigned(self, partitions: Sequence[int]) -> None:
        self.told.append(("assigned", tuple(partitions)))
        if self._on_assigned is not None:
            self._on_assigned(partitions)


def drain(
    consumer: LogConsumer, count: int, found: dict[int, list[Record]] | None = None
) -> dict[int, list[Record]]:
    """Poll until ``count`` records came, or the time is over, into ``found`` if given, which a listener may empty."""
    found = {} if found is None else found
    deadline = time.monotonic() + TIMEOUT
    while sum(map(len, found.values())) < count and time.monotonic() < deadline:
        for partition, records in consumer.poll(1000, 0.1).items():
            found.setdefault(partition, []).extend(records)
    return found


def forget_when_assigned(found: dict[int, list[Record]]) -> RecordedRebalances:
    """Return a listener that forgets the records of assigned partitions; the next polls return them again."""
    return RecordedRebalances(on_assigned=lambda partitions: [found.pop(each, None) for each in partitions])


def poll_until(condition: Callable[[], bool], *consumers: LogConsumer) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        for consumer in consumers:
            consumer.poll(1000, 0.1)


def append_all(producer: LogProducer, keys: Sequence[str]) -> list[Position]:
    """Append a record per key, its value numbered, and wait for the acknowledgements."""
    futures = [
        producer.append(EVENTS.name, key.encode(), f"{key}:{number}".encode())
        for number, key in enumerate(keys)
    ]
    return [future.result(TIMEOUT) for future in futures]


class ProducerContract:
    """Tests of the contract of ``LogProducer``; the fake passes them too."""

    def open_producer(self) -> LogProducer:
        raise NotImplementedError

    @pytest.fixture
    def stack(self) -> Iterator[ExitStack]:
        with ExitStack() as stack:
            yield stack

    @pytest.fixture
    def producer(self, stack: ExitStack) -> LogProducer:
        producer = self.open_producer()
        stack.callback(producer.close, TIMEOUT)
        return producer

    def test_key_chooses_the_partition_that_kafka_would_choose(self, producer: LogProducer) -> None:
        positions = append_all(producer, ["21", "foobar", "a-little-bit-long-string"])
        hashes = (-973932308, -790332482, -985981536)
        assert [position.partition for position in positions] == [
            (h & 0x7FFFFFFF) % EVENTS.partitions for h in hashes
        ]

    def test_record_that_is_too_large_is_refused(self, producer: LogProducer) -> None:
        with pytest.raises(RecordTooLargeError):
            producer.append(EVENTS.name, b"u", bytes(2 * 1024 * 1024))

    def test_flush_waits_for_every_acknowledgement(self, producer: LogProducer) -> None:
        futures = [producer.append(EVENTS.name, b"u", b"v") for _ in range(500)]
        producer.flush(TIMEOUT)
        assert all(future.done() for future in futures)
        assert producer.buffered() == 0

    def test_close_writes_what_waits_and_refuses_more(self) -> None:
        producer = self.open_producer()
        future = producer.append(EVENTS.name, b"u", b"v")
        producer.close(TIMEOUT)
        producer.close(TIMEOUT)
        assert future.result(0).offset == 0
        with pytest.raises(ClosedError):
            producer.append(EVENTS.name, b"u", b"v")

    def test_handed_over_record_cannot_be_cancelled(self, producer: LogProducer) -> None:
        future = producer.append(EVENTS.name, b"u", b"v")
        assert not future.cancel()
        assert future.result(TIMEOUT).offset == 0

    def test_healthy_log_has_no_problem(self, producer: LogProducer) -> None:
        assert producer.problem() is None


class LogContract(ProducerContract):
    """Tests of the contract of ``LogProducer`` and ``LogConsumer`` together."""

    def open_consumer(self, group: str, listener: RebalanceListener | None = None) -> LogConsumer:
        raise NotImplementedError

    def consumer(
        self, stack: ExitStack, group: str = "readers", listener: RebalanceListener | None = None
    ) -> LogConsumer:
        consumer = self.open_consumer(group, listener)
        stack.callback(consumer.close)
        return consumer

    @pytest.mark.parametrize(("key", "value"), [(b"user\x00\xff", b"value\n\x00"), (b"", b"")])
    def test_records_come_back_as_they_were_appended(
        self, stack: ExitStack, producer: LogProducer, key: bytes, value: bytes
    ) -> None:
        before = time.time_ns() // 1_000_000
        position = producer.append(EVENTS.name, key, value).result(TIMEOUT)
        (records,) = drain(self.consumer(stack), 1).values()
        assert records[0][:2] == position
        assert (records[0].key, records[0].value) == (key, value)
        assert before <= records[0].timestamp_ms <= time.time_ns() // 1_000_000

    def test_offsets_are_dense_and_records_of_a_key_stay_in_order(
        self, stack: ExitStack, producer: LogProducer
    ) -> None:
        keys = [f"u{number % 37}" for number in range(2000)]
        append_all(producer, keys)
        found: dict[int, list[Record]] = {}
        drain(self.consumer(stack, listener=forget_when_assigned(found)), len(keys), found)
        values: defaultdict[bytes, list[int]] = defaultdict(list)
        for records in found.values():
            assert [record.offset for record in records] == list(range(len(records)))
            for record in records:
                values[record.key].append(int(record.value.rpartition(b":")[2]))
        assert sum(map(len, values.values())) == len(keys)
        assert all(numbers == sorted(numbers) for numbers in values.values())

    def test_poll_returns_at_most_what_was_asked_for(self, stack: ExitStack, producer: LogProducer) -> None:
        append_all(producer, [f"u{number}" for number in range(100)])
        found: dict[int, list[Record]] = {}
        consumer = self.consumer(stack, listener=forget_when_assigned(found))
        sizes: list[int] = []
        deadline = time.monotonic() + TIMEOUT
        while sum(map(len, found.values())) < 100 and time.monotonic() < deadline:
            polled = consumer.poll(7, 1.0)
            sizes.append(sum(map(len, polled.values())))
            for partition, records in polled.items():
                found.setdefault(partition, []).extend(records)
        assert sum(map(len, found.values())) == 100
        assert max(sizes) == 7

    def test_poll_without_records_returns_nothing_in_time(self, stack: ExitStack) -> None:
        consumer = self.consumer(stack)
        consumer.poll(10, 1.0)
        started = time.monotonic()
        assert not consumer.poll(10, 0.2)
        assert time.monotonic() - started < 2.0

    def test_consumer_goes_on_at_the_committed_offsets(self, stack: ExitStack, producer: LogProducer) -> None:
        append_all(producer, [f"u{number}" for number in range(60)])
        first = self.open_consumer("readers")
        seen = drain(first, 60)
        committed = {partition: len(records) // 2 for partition, records in seen.items()}
        first.commit(committed)
        first.close()
        rest = sum(len(records) - committed[partition] for partition, records in seen.items())
        again = drain(self.consumer(stack), rest)
        assert {p: [r.offset for r in records] for p, records in again.items()} == {
            p: [r.offset for r in records[committed[p] :]] for p, records in seen.items()
        }

    def test_seek_continues_at_an_offset(self, stack: ExitStack, producer: LogProducer) -> None:
        [first, *_] = append_all(producer, ["a"] * 10)
        consumer = self.consumer(stack)
        drain(consumer, 10)
        consumer.seek({first.partition: 4})
        again = drain(consumer, 6)[first.partition]
        assert [(record.offset, record.absent) for record in again] == [(at, 0) for at in range(4, 10)]
        with pytest.raises(NotAssignedError):
            consumer.seek({first.partition: 2, 10_000: 0})
        assert not consumer.poll(10, 0.2)

    def test_what_was_not_committed_is_read_again(self, stack: ExitStack, producer: LogProducer) -> None:
        append_all(producer, [f"u{number}" for number in range(60)])
        first = self.open_consumer("readers")
        seen = drain(first, 60)
        first.close()
        assert drain(self.consumer(stack), 60) == seen

    def test_groups_read_independently(self, stack: ExitStack, producer: LogProducer) -> None:
        append_all(producer, ["a", "b", "c"])
        one = self.consumer(stack, "one")
        seen = drain(one, 3)
        one.commit({partition: len(records) for partition, records in seen.items()})
        assert drain(self.consumer(stack, "two"), 3) == seen

    def test_lag_is_the_end_less_the_position(self, stack: ExitStack, producer: LogProducer) -> None:
        append_all(producer, ["a"] * 10)
        consumer = self.consumer(stack)
        poll_until(lambda: len(consumer.assignment) == EVENTS.partitions, consumer)
        drain(consumer, 0)
        positions = append_all(producer, ["a"] * 5)
        lag = consumer.end_offsets()[positions[0].partition] - consumer.positions()[positions[0].partition]
        assert lag >= 5
        assert consumer.end_offsets()[positions[0].partition] == 15
        poll_until(lambda: consumer.positions() == consumer.end_offsets(), consumer)

    def test_beginning_is_the_first_record_that_is_still_there(
        self, stack: ExitStack, producer: LogProducer
    ) -> None:
        append_all(producer, ["a"] * 3)
        consumer = self.consumer(stack)
        poll_until(lambda: len(consumer.assignment) == EVENTS.partitions, consumer)
        assert consumer.beginning_offsets() == dict.fromkeys(range(EVENTS.partitions), 0)

    def test_consumer_knows_the_number_of_partitions_before_it_has_any(self, stack: ExitStack) -> None:
        assert self.consumer(stack).partitions == EVENTS.partitions

    def test_topic_id_is_the_same_for_all_and_has_sixteen_bytes(self, stack: ExitStack) -> None:
        one, two = self.consumer(stack, "one"), self.consumer(stack, "two")
        assert one.topic_id == two.topic_id
        assert len(one.topic_id) == 16

    def test_commit_for_a_partition_that_is_not_held_is_refused(self, stack: ExitStack) -> None:
        consumer = self.consumer(stack)
        with pytest.raises(NotAssignedError):
            consumer.commit({0: 1})

    def test_partitions_of_a_closed_consumer_go_on_where_it_committed_as_they_were_revoked(
        self, stack: ExitStack, producer: LogProducer
    ) -> None:
        append_all(producer, [f"u{number}" for number in range(60)])
        told = RecordedRebalances(
            lambda partitions: first.commit({p: first.positions()[p] for p in partitions})
        )
        first = self.open_consumer("readers", told)
        drain(first, 60)
        second = self.consumer(stack)
        poll_until(lambda: len(first.assignment) + len(second.assignment) == EVENTS.partitions, first, second)
        first.close()
        poll_until(lambda: len(second.assignment) == EVENTS.partitions, second)
        assert second.positions() == second.end_offsets()

    def test_close_tells_what_is_revoked_and_is_idempotent(self) -> None:
        told = RecordedRebalances()
        consumer = self.open_consumer("readers", told)
        poll_until(lambda: len(consumer.assignment) == EVENTS.partitions, consumer)
        consumer.close()
        consumer.close()
        assert told.told[-1] == ("revoked", tuple(range(EVENTS.partitions)))
        with pytest.raises(ClosedError):
            consumer.poll(1, 0)
