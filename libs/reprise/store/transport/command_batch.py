"""The commands of one call to a Redis Cluster, until each has its reply.

Format of redirects: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import hiredis

from reprise.store.settings import Address
from reprise.store.transport.resp import ASKING, TRANSIENT_CLUSTER_ERRORS, Command, error_code
from reprise.store.transport.slots import Redirect, SlotMap, key_slot, parse_redirect


class CommandBatch:
    """Commands, their slots and replies, and which of them are pending.

    Args:
        commands: The commands.
        keys: The key of each.

    Attributes:
        replies: The replies received so far, in the order of the commands.
        pending: Positions of the commands without a reply, each with the node that an ``ASK`` named for it.
    """

    __slots__ = ("_commands", "_slots", "pending", "replies")

    def __init__(self, commands: Sequence[Command], keys: Sequence[bytes]) -> None:
        self._commands = commands
        self._slots = [key_slot(key) for key in keys]
        self.replies: list[Any] = [None] * len(commands)
        self.pending: dict[int, Address | None] = dict.fromkeys(range(len(commands)))

    def by_node(self, owner: Callable[[int], Address | None]) -> dict[Address | None, list[int]]:
        """Return the positions of the pending commands by node, given the owner of a slot."""
        nodes: defaultdict[Address | None, list[int]] = defaultdict(list)
        for position, asked in self.pending.items():
            nodes[asked or owner(self._slots[position])].append(position)
        return nodes

    def frame(self, positions: Iterable[int]) -> list[Command]:
        """Return what to send for these positions; a command that follows an ``ASK`` has ``ASKING`` before it."""
        frame = []
        for position in positions:
            if self.pending[position] is not None:
                frame.append(ASKING)
            frame.append(self._commands[position])
        return frame

    def retry(self, positions: Iterable[int]) -> None:
        """Send these commands again, to the owners of their slots."""
        self.pending.update(dict.fromkeys(positions))

    def take(
        self, address: Address, positions: Iterable[int], answer: Iterable[Any], slots: SlotMap | None
    ) -> tuple[str, list[Redirect]]:
        """Store a node's replies to a frame; commands that it redirected or could not run yet stay pending.

        Moves redirected slots in the map, if there is one.

        Returns:
            The last transient error, empty where there is none, and the redirects.
        """
        received = iter(answer)
        transient, redirects = "", []
        for position in positions:
            asking = None if self.pending[position] is None else next(received)
            reply = next(received)
            if isinstance(asking, hiredis.ReplyError):
                reply = asking
            if isinstance(reply, hiredis.ReplyError):
                text = str(reply)
                if error_code(text) in TRANSIENT_CLUSTER_ERRORS:
                    self.pending[position] = None
                    transient = text
                    continue
                redirect = None if slots is None else parse_redirect(text, address)
                if redirect is not None and slots is not None:
                    if redirect.permanent:
                        slots.move(redirect.slot, redirect.address)
                    self.pending[position] = None if redirect.permanent else redirect.address
                    redirects.append(redirect)
                    continue
            self.replies[position] = reply
            del self.pending[position]
        return transient, redirects
