"""The blocking transport of a Redis Cluster: each primary gets the commands on its slots in one frame."""

from __future__ import annotations

import itertools
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import hiredis

from reprise.store.exceptions import StoreUnavailableError
from reprise.store.settings import Address, OnlineStoreSettings
from reprise.store.transport.blocking_connection import BlockingConnection
from reprise.store.transport.command_batch import CommandBatch
from reprise.store.transport.resp import CLUSTER_SLOTS, Command, ConnectionLostError, reply_error
from reprise.store.transport.server import (
    ReplicationIds,
    check_replicated,
    marker_prefix,
    pauses,
    scan_keys,
    wait_commands,
    wait_milliseconds,
)
from reprise.store.transport.slots import SlotMap, key_in_slot

_RETRIES = 12
_MAX_REDIRECTS = 16


class ClusterTransport:
    """A ``ServerTransport`` for the primaries of a cluster.

    The slot map is requested once, and again when a node reports a moved slot or is lost. What failed is retried
    for as long as an answer may take, ``REDIS_TIMEOUT``.
    """

    def __init__(self, settings: OnlineStoreSettings, tls: ssl.SSLContext | None) -> None:
        self._settings = settings
        self._tls = tls
        self._connections: dict[Address, BlockingConnection] = {}
        self._slots: SlotMap | None = None
        self._is_stale = False
        self._markers: dict[Address, bytes] = {}

    def execute(self, commands: Sequence[Command], keys: Sequence[bytes]) -> list[Any]:
        """See ``ServerTransport``."""
        self._refresh_if_stale()
        batch = CommandBatch(commands, keys)
        give_up = time.monotonic() + self._settings.redis_timeout
        redirects, retries = 0, itertools.chain(pauses(_RETRIES), itertools.repeat(None))
        while batch.pending:
            error = self._send_pending(batch)
            if error is None:
                redirects += 1
                if redirects > _MAX_REDIRECTS:
                    raise StoreUnavailableError(
                        "follow redirects",
                        f"{len(batch.pending)} commands were redirected {_MAX_REDIRECTS} times",
                    )
                continue
            pause = next(retries)
            if pause is None or time.monotonic() + pause > give_up:
                raise error
            time.sleep(pause)
        return batch.replies

    def execute_on_primaries(self, command: Command) -> dict[Address, Any]:
        """See ``ServerTransport``."""
        self._refresh_if_stale()
        give_up = time.monotonic() + self._settings.redis_timeout
        for pause in itertools.chain(pauses(_RETRIES), itertools.repeat(None)):
            try:
                frames = {address: [command] for address in self._known_slots().primaries()}
                return {address: replies[0] for address, replies in self._execute_on_each(frames).items()}
            except ConnectionLostError:
                self._slots = None
                if pause is None or time.monotonic() + pause > give_up:
                    raise
                time.sleep(pause)
        raise AssertionError("the last retry returns or raises")

    def wait_for_replicas(self, replication_ids: ReplicationIds, replicas: int) -> None:
        """See ``ServerTransport``."""
        if self._slots is None or self._slots.primaries().keys() != replication_ids.keys():
            raise StoreUnavailableError("wait for replicas", "the cluster's primaries have changed meanwhile")
        milliseconds = wait_milliseconds(self._settings)
        try:
            answers = self._execute_on_each(
                {at: wait_commands(self._marker(at), replicas, milliseconds) for at in replication_ids}
            )
            for address, replies in answers.items():
                check_replicated(address, replies, replication_ids, replicas)
        except (ConnectionLostError, StoreUnavailableError):
            self._slots = None
            raise

    def scan(self, pattern: bytes, count: int) -> Iterator[bytes]:
        """See ``ServerTransport``."""
        for address in self._known_slots().primaries():
            yield from scan_keys(self._connection(address), pattern, count)

    def close(self) -> None:
        """See ``ServerTransport``."""
        for connection in self._connections.values():
            connection.close()

    def _send_pending(self, batch: CommandBatch) -> Exception | None:
        """Send the pending commands, and return an error to retry after; ``None`` after redirects only."""
        try:
            slots = self._known_slots()
            nodes = batch.by_node(partial(_owner, slots))
        except (ConnectionLostError, StoreUnavailableError) as lost:
            self._slots = None
            return lost
        frames = {address: batch.frame(positions) for address, positions in nodes.items() if address}
        error: Exception | None = None
        for address, answer in self._send_and_receive(frames).items():
            if isinstance(answer, ConnectionLostError):
                self._slots, error = None, answer
                batch.retry(nodes[address])
                continue
            transient, redirects = batch.take(address, nodes[address], answer, slots)
            if any(redirect.permanent for redirect in redirects):
                self._markers.clear()
                self._is_stale = True
            if transient:
                self._slots, error = None, StoreUnavailableError(f"ask {address}", transient)
        return error

    def _send_and_receive(
        self, frames: Mapping[Address, Sequence[Command]]
    ) -> dict[Address, list[Any] | ConnectionLostError]:
        """Send every node its frame before the first reply is received."""
        found: dict[Address, list[Any] | ConnectionLostError] = {}
        sent: dict[Address, int] = {}
        for address, frame in frames.items():
            try:
                sent[address] = self._connection(address).send(frame)
            except ConnectionLostError as error:
                found[address] = self._deprioritize(address, error)
        for address, count in sent.items():
            try:
                found[address] = self._connection(address).receive(count)
            except ConnectionLostError as error:
                found[address] = self._deprioritize(address, error)
        return found

    def _execute_on_each(self, frames: Mapping[Address, Sequence[Command]]) -> dict[Address, list[Any]]:
        found = {}
        for address, answer in self._send_and_receive(frames).items():
            if isinstance(answer, ConnectionLostError):
                raise answer
            found[address] = answer
        return found

    def _marker(self, address: Address) -> bytes:
        if not self._markers:
            prefix, primaries = marker_prefix(self._settings), self._known_slots().primaries()
            self._markers = {at: key_in_slot(prefix, slot) for at, slot in primaries.items()}
        return self._markers[address]

    def _connection(self, address: Address) -> BlockingConnection:
        connection = self._connections.get(address)
        if connection is None:
            connection = self._connections[address] = BlockingConnection(
                self._settings, address, self._tls, 0
            )
        return connection

    def _deprioritize(self, address: Address, error: ConnectionLostError) -> ConnectionLostError:
        """Ask this node last for the next slot map."""
        self._connections[address] = self._connections.pop(address)
        return error

    def _refresh_if_stale(self) -> None:
        # Only between two batches: within one, a node that knows less than the redirecting one would send us back.
        if self._is_stale:
            self._slots, self._is_stale = None, False

    def _known_slots(self) -> SlotMap:
        if self._slots is None:
            self._slots = self._request_slots()
            self._markers.clear()
            primaries = self._slots.primaries().keys()
            for address in [known for known in self._connections if known not in primaries]:
                self._connections.pop(address).close()
        return self._slots

    def _request_slots(self) -> SlotMap:
        """Return the slot map of the first node that can be reached.

        Raises:
            ConnectionLostError: None can.
            StoreError: The first that answers refuses.
        """
        lost = ConnectionLostError("no node is known")
        for address in dict.fromkeys((*self._connections, *self._settings.redis_addresses)):
            try:
                (reply,) = self._connection(address).execute([CLUSTER_SLOTS])
            except ConnectionLostError as error:
                lost = error
                continue
            if isinstance(reply, hiredis.ReplyError):
                raise reply_error(f"ask {address} for the cluster's layout", reply)
            return SlotMap.from_reply(reply, address)
        raise lost


def _owner(slots: SlotMap, slot: int) -> Address:
    owner = slots.owner(slot)
    if owner is None:
        raise StoreUnavailableError("find a key's node", f"no node has slot {slot}")
    return owner
