"""What ``reprise.log.kafka.client_internals`` assumes of kafka-python; check each test's reason before an upgrade."""

import asyncio
import inspect
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition, errors
from kafka.consumer.fetcher import CompletedFetch
from kafka.coordinator.base import Generation
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder
from kafka.structs import MemberState

from reprise.log import UnreadableRecordsError
from reprise.log.kafka.client_internals import (
    RebalanceBridge,
    abandon,
    finish_joins_between_polls,
    reset_positions,
    topic_id,
    watch_fetches,
)

NOBODY = {"bootstrap_servers": "127.0.0.1:1", "api_version": (3, 9)}
"""A known version needs no broker."""

PARTITION = TopicPartition("events", 0)


@pytest.fixture
def consumer() -> Iterator[KafkaConsumer]:
    with closing(KafkaConsumer(group_id="g", enable_auto_commit=False, **NOBODY)) as consumer:
        yield consumer


def test_assumptions_were_checked_for_this_version() -> None:
    assert version("kafka-python") == "3.0.12"


def test_topic_without_metadata_has_no_id(consumer: KafkaConsumer) -> None:
    assert topic_id(consumer, "events") is None


def test_partition_kept_in_a_rebalance_keeps_its_position_until_it_is_reset(consumer: KafkaConsumer) -> None:
    state = consumer._subscription
    consumer.subscribe(["events"])
    state.assign_from_subscribed([PARTITION])
    consumer.seek(PARTITION, 7)
    state.assign_from_subscribed([PARTITION])
    assert state.assignment[PARTITION].position.offset == 7
    reset_positions(consumer, [PARTITION, TopicPartition("events", 1)])
    assert list(state.assignment) == [PARTITION]
    assert state.assignment[PARTITION].position is None


def test_assignment_that_arrived_between_polls_is_used_while_its_generation_lasts(
    consumer: KafkaConsumer,
) -> None:
    coordinator = consumer._coordinator
    joined: list[bytes] = []

    async def join_and_sync() -> bytes:
        joined.append(b"%d" % len(joined))
        return joined[-1]

    coordinator._do_join_and_sync_async = join_and_sync
    finish_joins_between_polls(consumer)
    coordinator.state = MemberState.REBALANCING
    assert [asyncio.run(coordinator._do_join_and_sync_async()) for _ in range(2)] == [b"0", b"0"]
    coordinator._generation = Generation(2, "member", "range")
    assert asyncio.run(coordinator._do_join_and_sync_async()) == b"1"
    coordinator.state = MemberState.STABLE
    assert asyncio.run(coordinator._do_join_and_sync_async()) == b"2"


def test_member_that_rejoins_for_changed_metadata_stays_in_need_of_its_assignment(
    consumer: KafkaConsumer,
) -> None:
    coordinator = consumer._coordinator
    consumer.subscribe(["events"])

    async def join_and_sync() -> bytes:
        coordinator._assignment_snapshot = coordinator._metadata_snapshot
        return b"assignment"

    coordinator._do_join_and_sync_async = join_and_sync
    finish_joins_between_polls(consumer)
    coordinator.rejoin_needed, coordinator._joined_subscription = False, {"events"}
    coordinator._assignment_snapshot, coordinator._metadata_snapshot = {"events": {0}}, {"events": {0, 1}}
    assert coordinator.need_rejoin()
    asyncio.run(coordinator._do_join_and_sync_async())
    # accepted by the poll that finds the join finished
    assert coordinator.need_rejoin()


def test_client_joins_again_if_the_assignment_arrived_between_polls(consumer: KafkaConsumer) -> None:
    source = inspect.getsource(type(consumer._coordinator).join_group_async)
    assert "self._join_task.is_done" in source
    assert "call_soon(self._do_join_and_sync_async)" in source


def test_rebalance_callback_has_a_thread_of_its_own_and_its_error_reaches_the_client(
    consumer: KafkaConsumer,
) -> None:
    threads: list[str] = []

    def fail(partitions: Sequence[int]) -> None:
        threads.append(threading.current_thread().name)
        raise ValueError(f"revoked {list(partitions)}")

    bridge = RebalanceBridge(fail, fail, fail, consumer)
    with pytest.raises(ValueError, match=r"revoked \[0\]"):
        consumer._net.run(bridge.on_partitions_revoked, [PARTITION])
    assert threads == ["rebalance"]


def test_abandoned_producer_has_no_sender_thread() -> None:
    producer = KafkaProducer(**NOBODY)
    abandon(producer)
    assert not producer._sender.is_alive()
    producer.close(0)


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
@pytest.mark.parametrize("damaged", [False, True])
def test_fetched_records_are_decoded_or_name_their_place_once(
    consumer: KafkaConsumer, codec: int, damaged: bool
) -> None:
    builder = MemoryRecordsBuilder(magic=2, compression_type=codec, batch_size=10_000)
    for _ in range(3):
        builder.append(timestamp=1, key=b"k", value=b"v" * 50)
    builder.close()
    data = bytearray(builder.buffer())
    if damaged:
        data[61:] = bytes(len(data) - 61)
    fetches: list[tuple[int, int]] = []
    watch_fetches(consumer, lambda *fetch: fetches.append(fetch))
    records = consumer._fetcher.PartitionRecords(0, PARTITION, MemoryRecords(bytes(data)), check_crcs=False)
    assert fetches == [(0, 0)]
    if damaged:
        with pytest.raises(
            UnreadableRecordsError, match=r"events, partition 0: offset 0 cannot be read: \w+: "
        ):
            records.take(5)
        # the client goes on with other partitions
        assert not records
    else:
        assert [record.value for record in records.take(5)] == [b"v" * 50] * 3


def fetched(consumer: KafkaConsumer, error_code: int, records: bytes = b"") -> CompletedFetch:
    """A broker's answer to the fetch of offset 7."""
    consumer.subscribe([PARTITION.topic])
    consumer._subscription.assign_from_subscribed([PARTITION])
    consumer.seek(PARTITION, 7)
    data = SimpleNamespace(
        error_code=error_code,
        high_watermark=9,
        records=records,
        aborted_transactions=[],
        diverging_epoch=None,
        current_leader=None,
    )
    return CompletedFetch(PARTITION, 7, 12, data, None)


@pytest.mark.parametrize(
    ("error_code", "records"), [(errors.CorruptRecordError.errno, b""), (0, b"half of a batch")]
)
def test_what_the_broker_cannot_read_names_its_place(
    consumer: KafkaConsumer, error_code: int, records: bytes
) -> None:
    watch_fetches(consumer, lambda *_: None)
    with pytest.raises(UnreadableRecordsError, match="events, partition 0: offset 7 cannot be read"):
        consumer._fetcher._parse_fetched_data(fetched(consumer, error_code, records))


@pytest.mark.parametrize("error", [errors.TopicAuthorizationFailedError, errors.UnknownError])
def test_other_errors_of_a_fetch_are_not_about_the_records(
    consumer: KafkaConsumer, error: type[errors.BrokerResponseError]
) -> None:
    watch_fetches(consumer, lambda *_: None)
    with pytest.raises(error):
        consumer._fetcher._parse_fetched_data(fetched(consumer, error.errno))
