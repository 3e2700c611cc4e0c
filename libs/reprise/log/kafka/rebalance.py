"""Telling a listener of rebalances, from the client's event loop."""

import threading
from collections.abc import Callable, Collection, Iterable, Sequence

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener, TopicPartitionState
from kafka.future import Future
from kafka.structs import MemberState


class RebalanceBridge(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Calls back with partitions that come and go, on a thread that may use the consumer.

    The client calls its listeners on the event loop that also carries heartbeats and commits, where a commit
    would wait for itself. The consumer's own thread waits inside ``poll`` or ``close`` meanwhile.

    Args:
        revoked: Called before others may get these partitions.
        lost: Called when others may have them already.
        assigned: Called before these partitions are read.
        consumer: The client, whose event loop calls this.
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
        """Pass on what is given up."""
        await self._call(self._revoked, revoked)

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        """Pass on what was taken away."""
        await self._call(self._lost, lost)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Pass on what was given."""
        _forget_positions(self._consumer, assigned)
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

            async def settle() -> None:
                if failure is None:
                    done.success(None)
                else:
                    done.failure(failure)

            self._consumer._net.call_soon_threadsafe(settle)

        threading.Thread(target=run, name="rebalance", daemon=True).start()
        await done


def _forget_positions(consumer: KafkaConsumer, partitions: Iterable[TopicPartition]) -> None:
    """Have partitions that were assigned be read from the group's committed offsets.

    The client (3.0) goes on where it was with a partition that it had before the rebalance as well, though
    another member may have committed for it meanwhile, and what it had read itself may never have been worked off.
    """
    assignment = consumer._subscription.assignment
    for partition in partitions:
        if partition in assignment:
            assignment[partition] = TopicPartitionState()


def keep_unseen_assignment(consumer: KafkaConsumer) -> None:
    """Let the next poll take up an assignment that arrived between two polls.

    The client (3.0) joins its group in the background but takes up the result only inside ``poll``. One that
    arrived in between it drops, and joins anew, which makes everybody else join anew as well: with short
    polls two members can keep each other from ever getting partitions.
    """
    coordinator = consumer._coordinator
    join_and_sync = coordinator._do_join_and_sync_async
    unseen: tuple[object, bytes] | None = None

    async def join_and_sync_once() -> bytes:
        nonlocal unseen
        # what was taken up has made the member stable, and what the group has outlived has another generation
        if (
            unseen is not None
            and coordinator.state is MemberState.REBALANCING
            and unseen[0] == coordinator._generation
        ):
            return unseen[1]
        unseen = None
        assignment: bytes = await join_and_sync()
        unseen = coordinator._generation, assignment
        return assignment

    coordinator._do_join_and_sync_async = join_and_sync_once
