"""Kafka keeps the log's contract, and reports what only Kafka can do wrong."""

import time
from contextlib import ExitStack

import pytest

from reprise.log import EVENTS, LogConsumer, LogProducer, RebalanceListener, open_consumer, open_producer
from support.kafka import KafkaBroker
from support.log_contract import TIMEOUT, LogContract, RecordedRebalances, append_all, drain, poll_until

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

    def test_consumers_of_a_group_share_the_partitions(self, stack: ExitStack, producer: LogProducer) -> None:
        told = RecordedRebalances()
        first = self.consumer(stack, listener=told)
        poll_until(lambda: len(first.assignment) == EVENTS.partitions, first)
        second = self.consumer(stack)
        # each learns of its share in a poll of its own
        poll_until(
            lambda: len(first.assignment) == len(second.assignment) == EVENTS.partitions // 2, first, second
        )
        assert first.assignment | second.assignment == set(range(EVENTS.partitions))
        assert told.told[0] == ("assigned", tuple(range(EVENTS.partitions)))
        assert "revoked" in {kind for kind, _ in told.told}

    def test_commit_while_partitions_are_revoked_is_where_the_next_goes_on(
        self, stack: ExitStack, producer: LogProducer
    ) -> None:
        append_all(producer, [f"u{number}" for number in range(60)])
        done = dict.fromkeys(range(EVENTS.partitions), 0)
        told = RecordedRebalances(lambda partitions: first.commit({p: done[p] for p in partitions}))
        first = self.consumer(stack, listener=told)
        seen = drain(first, 60)
        done = {partition: len(seen.get(partition, [])) for partition in range(EVENTS.partitions)}
        second = self.consumer(stack)
        poll_until(lambda: len(second.assignment) == EVENTS.partitions // 2, first, second)
        assert second.positions() == {partition: done[partition] for partition in second.assignment}

    def test_what_is_assigned_is_read_from_the_committed_offset_even_if_it_stays_where_it_was(
        self, stack: ExitStack, producer: LogProducer
    ) -> None:
        append_all(producer, [f"u{number}" for number in range(60)])
        read: dict[int, list[int]] = {partition: [] for partition in range(EVENTS.partitions)}
        told = RecordedRebalances(on_assigned=lambda ps: read.update({partition: [] for partition in ps}))
        first = self.consumer(stack, listener=told)
        seen = drain(first, 60)
        committed = {partition: len(records) // 2 for partition, records in seen.items()}
        first.commit(committed)
        told.told.clear()
        read.update({p: list(range(offset, len(seen[p]))) for p, offset in committed.items()})
        second = self.consumer(stack)
        deadline = time.monotonic() + TIMEOUT
        while len(first.assignment) != len(second.assignment) or any(
            not read[partition] for partition in first.assignment & seen.keys()
        ):
            assert time.monotonic() < deadline, "the records did not come again in time"
            second.poll(1000, 0.1)
            for partition, records in first.poll(1000, 0.1).items():
                read[partition] += [record.offset for record in records]
        for partition in first.assignment & seen.keys():
            assert read[partition] == list(range(committed[partition], len(seen[partition])))
