"""All uses of kafka-python's private attributes, for what its public interface lacks.

``tests/unit/log/test_kafka_client_internals.py`` has a test of each assumption, and of the version that they are about.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition, errors
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener, TopicPartitionState
from kafka.future import Future
from kafka.structs import MemberState

from reprise.log.exceptions import UnreadableRecordsError


class RebalanceBridge(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Runs rebalance callbacks on a separate thread, where they may use the consumer.

    The client invokes its listeners on the event loop that also runs heartbeats and commits, where a commit would
    deadlock. The consumer's own thread waits inside ``poll`` or ``close`` meanwhile. ``revoked`` runs before other
    members get the partitions, ``lost`` when they may already have them, ``assigned`` before the partitions are read.
    """

    def __init__(
        self,
        revoked: Callable[[Sequence[int]], None],
        lost: Callable[[Sequence[int]], None],
        assigned: Callable[[Sequence[int]], None],
        consumer: KafkaConsumer,
    ) -> None:
        self._revoked = revoked
        self._lost = lost
        self._assigned = assigned
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Forward revoked partitions."""
        await self._call(self._revoked, revoked)

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        """Forward lost partitions."""
        await self._call(self._lost, lost)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Forward assigned partitions."""
        reset_positions(self._consumer, assigned)
        await self._call(self._assigned, assigned)

    async def _call(
        self, function: Callable[[Sequence[int]], None], partitions: Collection[TopicPartition]
    ) -> None:
        numbers = sorted(partition.partition for partition in partitions)
        if not numbers:
            return
        done: Future = Future()

        def run() -> None:
            failure: Exception | None = None
            try:
                function(numbers)
            except Exception as error:  # noqa: BLE001 - raised again on the consumer's thread
                failure = error

            async def resolve() -> None:
                if failure is None:
                    done.success(None)
                else:
                    done.failure(failure)

            self._consumer._net.call_soon_threadsafe(resolve)

        threading.Thread(target=run, name="rebalance", daemon=True).start()
        await done


def watch_fetches(consumer: KafkaConsumer, fetched: Callable[[int, int], object]) -> None:
    """Call ``fetched`` with the partition and offset of each fetch, before its records are returned.

    ``poll`` then raises ``UnreadableRecordsError`` for records that cannot be decoded, and for those that the broker
    itself finds corrupt. The client raises whatever the codec does, does not tell the partition, and polls the finished
    iterator for ever.
    """
    fetcher = consumer._fetcher
    parse = fetcher._parse_fetched_data

    def parse_or_name_place(fetch: Any) -> Any:
        try:
            return parse(fetch)
        except errors.KafkaError as error:
            by_broker = isinstance(error, errors.BrokerResponseError)
            if by_broker and not isinstance(error, errors.CorruptRecordError):
                raise
            place = fetch.topic_partition
            raise UnreadableRecordsError(place.topic, place.partition, fetch.fetched_offset, error) from error

    class WatchedRecords(consumer._fetcher.PartitionRecords):  # type: ignore[misc]
        def __init__(self, fetch_offset: int, place: TopicPartition, *args: Any, **named: Any) -> None:
            super().__init__(fetch_offset, place, *args, **named)
            fetched(place.partition, fetch_offset)

        def take(self, n: int | None = None) -> list[Any]:
            """Return up to ``n`` records."""
            try:
                taken: list[Any] = super().take(n)
            except MemoryError:
                raise
            except Exception as error:
                place, offset = self.topic_partition, self.next_fetch_offset
                self.drain()
                raise UnreadableRecordsError(place.topic, place.partition, offset, error) from error
            return taken

    fetcher.PartitionRecords = WatchedRecords
    fetcher._parse_fetched_data = parse_or_name_place


def topic_id(consumer: KafkaConsumer, topic: str) -> bytes | None:
    """Return a topic's 16-byte id (KIP-516) in the client's metadata; ``None`` if it has none."""
    found = consumer._cluster.topic_id(topic)
    return None if found is None else bytes(found.bytes)


def abandon(producer: KafkaProducer) -> None:
    """Stop a producer's sender thread; ``close`` would wait for records that cannot be written."""
    producer._sender.force_close()
    producer._sender.join(1.0)


def reset_positions(consumer: KafkaConsumer, partitions: Iterable[TopicPartition]) -> None:
    """Make assigned partitions start from the group's committed offsets.

    The client keeps its position in a partition that it already had before the rebalance. Another member may have
    committed since, and records that the client had fetched may never have been processed.
    """
    assignment = consumer._subscription.assignment
    for partition in partitions:
        if partition in assignment:
            assignment[partition] = TopicPartitionState()


def finish_joins_between_polls(consumer: KafkaConsumer) -> None:
    """Let the next poll accept an assignment that arrived between two polls.

    The client joins its group in the background but accepts the assignment only inside ``poll``.

    It discards an assignment that arrives between polls and rejoins, which forces all members to rejoin: with short
    polls, two members can prevent each other from ever getting partitions.

    A leader that rejoins because the topic's metadata changed forgets that it is joining once it has computed the
    assignment, or once the metadata changes back. It then never accepts the assignment, and polls without partitions
    and without heartbeats from then on. Kafka's own client had the same defect (KAFKA-9815).
    """
    coordinator = consumer._coordinator
    join_and_sync = coordinator._do_join_and_sync_async
    pending: tuple[object, bytes] | None = None

    async def join_and_sync_once() -> bytes:
        nonlocal pending
        coordinator.request_rejoin()
        # an accepted assignment makes the member stable; an outdated one has an older generation
        if (
            pending is not None
            and coordinator.state is MemberState.REBALANCING
            and pending[0] == coordinator._generation
        ):
            return pending[1]
        pending = None
        assignment: bytes = await join_and_sync()
        pending = coordinator._generation, assignment
        return assignment

    coordinator._do_join_and_sync_async = join_and_sync_once
