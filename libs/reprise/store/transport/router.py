"""Routing of commands to the nodes of a store, without I/O: the slot map, redirects, failover.

A call is a loop in either transport: send what ``CommandBatch.requests`` returns, hand the answers to ``take``, until
nothing is pending. Formats: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from __future__ import annotations

from binascii import crc_hqx
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import hiredis

from reprise.store.exceptions import StoreRefusedError, StoreUnavailableError
from reprise.store.settings import Address, OnlineStoreSettings
from reprise.store.transport.resp import (
    ASKING,
    TRANSIENT_CLUSTER_ERRORS,
    Command,
    ConnectionLostError,
    reply_error,
)

SLOTS = 16384


def key_slot(key: bytes) -> int:
    """Return the slot of a key: CRC16 (XMODEM) of the part between its first braces, or of all of it."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS


@cache
def key_in_slot(prefix: bytes, slot: int) -> bytes:
    """Return a key in the slot that begins with the prefix, which has no brace."""
    number = 0
    while crc_hqx(b"%d" % number, 0) % SLOTS != slot:
        number += 1
    return b"%s{%d}" % (prefix, number)


class SlotMap:
    """The primary of each slot, as one node reported it and redirects corrected it."""

    def __init__(self, owners: Sequence[Address | None]) -> None:
        if len(owners) != SLOTS:
            raise ValueError(f"a cluster has {SLOTS} slots, got {len(owners)}")
        self._owners = list(owners)
        self._primaries: dict[Address, int] | None = None

    @classmethod
    def from_reply(cls, reply: Any, asked: Address) -> SlotMap:
        """Return the map in the reply to ``CLUSTER SLOTS``: ranges, each with its primary first.

        A node without a host has the host of the node that was asked.

        Raises:
            StoreError: The node reports an error, or the reply is no layout.
        """
        operation = f"ask {asked} for the cluster's layout"
        if isinstance(reply, hiredis.ReplyError):
            raise reply_error(operation, reply)
        owners: list[Address | None] = [None] * SLOTS
        try:
            for first, last, (host, port, *_), *_ in reply:
                if host == b"?":
                    continue  # its address is not known yet
                address = Address(host.decode() if host else asked.host, port)
                owners[first : last + 1] = [address] * (last + 1 - first)
            return cls(owners)
        except (TypeError, ValueError, AttributeError):
            raise StoreRefusedError(operation, f"this is none: {reply!r}") from None

    def owner(self, slot: int) -> Address:
        """Return the primary of a slot.

        Raises:
            StoreUnavailableError: None is known.
        """
        owner = self._owners[slot]
        if owner is None:
            raise StoreUnavailableError("find a key's node", f"no node has slot {slot}")
        return owner

    def move(self, slot: int, address: Address) -> None:
        """Set the primary of a slot."""
        self._owners[slot] = address
        self._primaries = None

    @property
    def owners(self) -> tuple[Address | None, ...]:
        """The primary of each slot, None where none is known."""
        return tuple(self._owners)

    @property
    def is_complete(self) -> bool:
        """Whether every slot has a primary."""
        return None not in self._owners

    def primaries(self) -> Mapping[Address, int]:
        """Return the primaries, each with its first slot."""
        if self._primaries is None:
            found: dict[Address, int] = {}
            for slot, owner in enumerate(self._owners):
                if owner is not None:
                    found.setdefault(owner, slot)
            self._primaries = found
        return self._primaries


class Router:
    """The nodes of a store: one server, or the primaries of a cluster as its nodes report them.

    Attributes:
        is_cluster: Whether keys have slots and nodes redirect.
        slots: The slot map, ``None`` while a node has to be asked for it. One server has all slots.
    """

    def __init__(self, settings: OnlineStoreSettings) -> None:
        self.is_cluster = settings.is_cluster
        self._configured = settings.redis_addresses
        self._known: dict[Address, None] = {}
        self.slots = None if self.is_cluster else SlotMap([self._configured[0]] * SLOTS)

    def candidates(self) -> list[Address]:
        """Return the nodes to ask for the slot map in order: the known ones, those that were lost last at the end."""
        return list(dict.fromkeys((*self._known, *self._configured)))

    def use(self, slots: SlotMap) -> None:
        """Replace the slot map."""
        self.slots = slots
        primaries = slots.primaries()
        self._known = {known: None for known in self._known if known in primaries}
        self._known.update(dict.fromkeys(primaries))

    def forget_slots(self) -> None:
        """Ask for the slot map before the next command; one server stays where it is."""
        if self.is_cluster:
            self.slots = None

    def mark_lost(self, address: Address) -> None:
        """Ask this node last for the next slot map."""
        self._known.pop(address, None)
        self._known[address] = None


class CommandBatch:
    """The commands of one call, until each has its reply; one server's replies are taken as they are.

    Attributes:
        replies: The replies received so far, in the order of the commands, errors among them.
        pending: Positions of the commands without a reply, each with the node that an ``ASK`` named for it.
        error: Of the last step, why to wait before the next one: a lost connection, or an error that passes.
        moved: Whether a node reported in the last step that a slot has moved.
    """

    __slots__ = ("_commands", "_is_cluster", "_sent", "_slots", "error", "moved", "pending", "replies")

    def __init__(self, commands: Sequence[Command], keys: Iterable[bytes], *, is_cluster: bool) -> None:
        self._commands = commands
        self._is_cluster = is_cluster
        self._slots = [key_slot(key) for key in keys] if is_cluster else []
        self._sent: Mapping[Address, Sequence[int]] = {}
        self.replies: list[Any] = [None] * len(commands)
        self.pending: dict[int, Address | None] = dict.fromkeys(range(len(commands)))
        self.error: Exception | None = None
        self.moved = False

    def requests(self, slots: SlotMap) -> dict[Address, Sequence[Command]]:
        """Begin a step: return the pending commands by the node to send them to.

        A command that follows an ``ASK`` has ``ASKING`` before it.

        Raises:
            StoreUnavailableError: The slot of a command has no node.
        """
        self.error, self.moved = None, False
        if not self._is_cluster:
            return {slots.owner(0): self._commands}
        nodes: defaultdict[Address, list[int]] = defaultdict(list)
        for position, asked in self.pending.items():
            nodes[asked or slots.owner(self._slots[position])].append(position)
        self._sent = nodes
        return {address: self._frame(positions) for address, positions in nodes.items()}

    def take(self, address: Address, answer: Sequence[Any] | ConnectionLostError, slots: SlotMap) -> None:
        """Store a node's answer to its part of the step.

        Commands that it redirected or could not run yet stay pending, and so do all where the connection was lost.
        Moves redirected slots in the map.
        """
        if isinstance(answer, ConnectionLostError):
            self.error = answer
            self.pending.update(dict.fromkeys(self.sent(address)))
        elif self._is_cluster:
            received = iter(answer)
            for position in self._sent[address]:
                asking = None if self.pending[position] is None else next(received)
                reply = next(received)
                failure = asking if isinstance(asking, hiredis.ReplyError) else reply
                if isinstance(failure, hiredis.ReplyError) and self._has_to_wait(
                    position, str(failure), address, slots
                ):
                    continue
                self.replies[position] = failure
                del self.pending[position]
        else:
            self.replies = list(answer)
            self.pending.clear()

    def sent(self, address: Address) -> Sequence[int]:
        """Return the positions of the commands that the last step has for a node of a cluster, in order."""
        return self._sent.get(address, ())

    def forget_asks(self) -> None:
        """Send commands that follow an ``ASK`` to the owners of their slots instead."""
        self.pending = dict.fromkeys(self.pending)

    def _frame(self, positions: Iterable[int]) -> list[Command]:
        frame = []
        for position in positions:
            if self.pending[position] is not None:
                frame.append(ASKING)
            frame.append(self._commands[position])
        return frame

    def _has_to_wait(self, position: int, text: str, asked: Address, slots: SlotMap) -> bool:
        # ``MOVED 3999 10.0.0.7:6381`` holds from now on, ``ASK 3999 10.0.0.7:6381`` for this command only. Without a
        # host, it is that of the node that was asked.
        code, _, rest = text.partition(" ")
        if code in TRANSIENT_CLUSTER_ERRORS:
            self.pending[position] = None
            self.error = StoreUnavailableError(f"ask {asked}", text)
            return True
        if code not in ("MOVED", "ASK"):
            return False
        slot, _, where = rest.partition(" ")
        host, _, port = where.rpartition(":")
        address = Address(host or asked.host, int(port))
        if code == "MOVED":
            slots.move(int(slot), address)
            self.moved = True
        self.pending[position] = address if code == "ASK" else None
        return True
