"""A Redis Cluster for the store: every command goes to the primary of its key's slot, a frame to each at a time."""

from __future__ import annotations

import itertools
import ssl
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import hiredis

from reprise.store.exceptions import StoreUnavailableError
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.blocking_connection import BlockingConnection, Command, pack
from reprise.store.transport.connection import ConnectionLostError, error_code, reply_error
from reprise.store.transport.server import (
    ReplicationIds,
    check_replicated,
    marker_prefix,
    pauses,
    scan_keys,
    wait_commands,
    wait_milliseconds,
)
from reprise.store.transport.slots import Address, SlotMap, key_in_slot, key_slot, parse_redirect

_ASKING = pack(b"ASKING")
_LAYOUT = pack(b"CLUSTER", b"SLOTS")
_PASSING = frozenset({"TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING"})
_TRIES = 12
_HOPS = 16


class ClusterTransport:
    """The primaries of a cluster; see ``Transport``.

    The layout is asked for once, and again when a node says that a slot has moved or when one is lost. What
    failed is tried again for as long as an answer may take, ``REDIS_TIMEOUT``.
    """

    def __init__(self, settings: OnlineStoreSettings, project: str, tls: ssl.SSLContext | None) -> None:
        self._settings = settings
        self._tls = tls
        self._links: dict[Address, BlockingConnection] = {}
        self._slots: SlotMap | None = None
        self._is_stale = False
        self._markers: dict[Address, bytes] = {}
        self._marker_prefix = marker_prefix(project)

    def run(self, commands: Sequence[Command], keys: Sequence[bytes]) -> list[Any]:
        """See ``Transport``."""
        self._refresh_if_stale()
        slots = [key_slot(key) for key in keys]
        replies: list[Any] = [None] * len(commands)
        left: dict[int, Address | None] = dict.fromkeys(range(len(commands)))
        give_up = time.monotonic() + self._settings.redis_timeout
        hops, tries = 0, itertools.chain(pauses(_TRIES), itertools.repeat(None))
        while left:
            trouble = self._round(commands, slots, left, replies)
            if trouble is None:
                hops += 1
                if hops > _HOPS:
                    raise StoreUnavailableError(
                        "follow the slots", f"{len(left)} commands were sent on {_HOPS} times"
                    )
                continue
            pause = next(tries)
            if pause is None or time.monotonic() + pause > give_up:
                raise trouble
            time.sleep(pause)
        return replies

    def run_everywhere(self, command: Command) -> dict[Address, Any]:
        """See ``Transport``."""
        self._refresh_if_stale()
        give_up = time.monotonic() + self._settings.redis_timeout
        for pause in pauses(_TRIES):
            try:
                return {at: replies[0] for at, replies in self._exchange_all([command]).items()}
            except ConnectionLostError:
                self._slots = None
                if time.monotonic() + pause > give_up:
                    raise
                time.sleep(pause)
        return {at: replies[0] for at, replies in self._exchange_all([command]).items()}

    def wait_for_replicas(self, replication_ids: ReplicationIds, replicas: int) -> None:
        """See ``Transport``."""
        if self._slots is None or self._slots.primaries().keys() != replication_ids.keys():
            raise StoreUnavailableError("settle", "the cluster's primaries have changed meanwhile")
        milliseconds = wait_milliseconds(self._settings)
        try:
            settled = self._exchange_each(
                {at: wait_commands(self._marker(at), replicas, milliseconds) for at in replication_ids}
            )
            for address, replies in settled.items():
                check_replicated(address, replies, replication_ids, replicas)
        except (ConnectionLostError, StoreUnavailableError):
            self._slots = None
            raise

    def scan(self, pattern: bytes, count: int) -> Iterator[bytes]:
        """See ``Transport``."""
        for address in self._known_slots().primaries():
            yield from scan_keys(self._link(address), pattern, count)

    def close(self) -> None:
        """See ``Transport``."""
        for link in self._links.values():
            link.close()

    def _round(
        self,
        commands: Sequence[Command],
        slots: Sequence[int],
        left: dict[int, Address | None],
        replies: list[Any],
    ) -> Exception | None:
        """Send what is left to where it belongs, and take what was answered off it.

        Returns what is wrong with the others, ``None`` where all that is wrong is that they were sent elsewhere.
        """
        try:
            layout = self._known_slots()
            by_node: defaultdict[Address, list[int]] = defaultdict(list)
            for position, asked in left.items():
                by_node[asked or _owner(layout, slots[position])].append(position)
        except (ConnectionLostError, StoreUnavailableError) as error:
            self._slots = None
            return error
        frames: dict[Address, list[Command]] = {}
        for address, positions in by_node.items():
            frames[address] = []
            for position in positions:
                frames[address] += (
                    [commands[position]] if left[position] is None else [_ASKING, commands[position]]
                )
        trouble: Exception | None = None
        for address, answer in self._send_and_receive(frames).items():
            if isinstance(answer, ConnectionLostError):
                self._slots, trouble = None, answer
                left.update(dict.fromkeys(by_node[address]))
                continue
            received = iter(answer)
            for position in by_node[address]:
                asking = None if left[position] is None else next(received)
                reply = next(received)
                if isinstance(asking, hiredis.ReplyError):
                    reply = asking
                trouble = self._take(position, reply, address, layout, left, replies) or trouble
        return trouble

    def _take(
        self,
        position: int,
        reply: Any,
        address: Address,
        layout: SlotMap,
        left: dict[int, Address | None],
        replies: list[Any],
    ) -> Exception | None:
        """Note a reply, or where its command is to be sent instead; return what is wrong with the cluster."""
        if isinstance(reply, hiredis.ReplyError):
            text = str(reply)
            redirect = parse_redirect(text, address)
            if redirect is not None:
                left[position] = None if redirect.for_good else redirect.address
                if redirect.for_good:
                    layout.move(redirect.slot, redirect.address)
                    self._markers.clear()
                    self._is_stale = True
                return None
            if error_code(text) in _PASSING:
                self._slots = None
                left[position] = None
                return reply_error(f"ask {address}", reply)
        replies[position] = reply
        del left[position]
        return None

    def _send_and_receive(
        self, frames: Mapping[Address, Sequence[Command]]
    ) -> dict[Address, list[Any] | ConnectionLostError]:
        """Send every node its frame before the first reply is waited for."""
        found: dict[Address, list[Any] | ConnectionLostError] = {}
        sent: dict[Address, int] = {}
        for address, frame in frames.items():
            try:
                sent[address] = self._link(address).send(frame)
            except ConnectionLostError as error:
                found[address] = self._ask_last(address, error)
        for address, count in sent.items():
            try:
                found[address] = self._link(address).receive(count)
            except ConnectionLostError as error:
                found[address] = self._ask_last(address, error)
        return found

    def _exchange_each(self, frames: Mapping[Address, Sequence[Command]]) -> dict[Address, list[Any]]:
        found = {}
        answers = self._send_and_receive(frames)
        for address, answer in answers.items():
            if isinstance(answer, ConnectionLostError):
                raise answer
            found[address] = answer
        return found

    def _exchange_all(self, commands: Sequence[Command]) -> dict[Address, list[Any]]:
        return self._exchange_each(dict.fromkeys(self._known_slots().primaries(), commands))

    def _marker(self, address: Address) -> bytes:
        if not self._markers:
            primaries = self._known_slots().primaries()
            self._markers = {at: key_in_slot(self._marker_prefix, slot) for at, slot in primaries.items()}
        return self._markers[address]

    def _link(self, address: Address) -> BlockingConnection:
        link = self._links.get(address)
        if link is None:
            link = self._links[address] = BlockingConnection(self._settings, address, self._tls, 0)
        return link

    def _ask_last(self, address: Address, error: ConnectionLostError) -> ConnectionLostError:
        """Prefer all other nodes, the next time that the layout is asked for."""
        self._links[address] = self._links.pop(address)
        return error

    def _refresh_if_stale(self) -> None:
        # Only between two batches of commands: in the middle of one, a node that knows less than the one that
        # has redirected us would send us back.
        if self._is_stale:
            self._slots, self._is_stale = None, False

    def _known_slots(self) -> SlotMap:
        if self._slots is None:
            self._slots = self._ask_for_slots()
            self._markers.clear()
            self._forget_others(self._slots)
        return self._slots

    def _ask_for_slots(self) -> SlotMap:
        """Return the layout that the first node tells that can be reached.

        Raises:
            ConnectionLostError: None can.
            StoreError: The first that answers refuses.
        """
        trouble = ConnectionLostError("no node is known")
        for address in dict.fromkeys((*self._links, *self._settings.redis_addresses)):
            try:
                (reply,) = self._link(address).exchange([_LAYOUT])
            except ConnectionLostError as error:
                trouble = error
                continue
            if isinstance(reply, hiredis.ReplyError):
                raise reply_error(f"ask {address} for the cluster's layout", reply)
            return SlotMap.from_reply(reply, address)
        raise trouble

    def _forget_others(self, slots: SlotMap) -> None:
        wanted = slots.primaries().keys()
        for address in [known for known in self._links if known not in wanted]:
            self._links.pop(address).close()


def _owner(layout: SlotMap, slot: int) -> Address:
    owner = layout.owner(slot)
    if owner is None:
        raise StoreUnavailableError("find a key's node", f"no node has slot {slot}")
    return owner
