"""The slots of a Redis Cluster and the nodes that own them.

Format: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence
from typing import Any, NamedTuple

from reprise.store.exceptions import StoreRefusedError
from reprise.store.settings import Address

SLOTS = 16384


class Redirect(NamedTuple):
    """The node that a slot is on, as another node answered.

    Attributes:
        slot: The slot.
        address: The node to ask instead.
        permanent: Whether the slot has moved (``MOVED``); else this command only (``ASK``).
    """

    slot: int
    address: Address
    permanent: bool


def key_slot(key: bytes) -> int:
    """Return the slot of a key: CRC16 (XMODEM) of the part between its first braces, or of all of it."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS


def parse_redirect(text: str, asked: Address) -> Redirect | None:
    """Return the redirect in an error such as ``MOVED 3999 10.0.0.7:6381``, ``None`` for another error.

    A redirect without a host means the host of the node that was asked.
    """
    kind, _, rest = text.partition(" ")
    if kind not in ("MOVED", "ASK"):
        return None
    slot, _, where = rest.partition(" ")
    host, _, port = where.rpartition(":")
    return Redirect(int(slot), Address(host or asked.host, int(port)), kind == "MOVED")


class SlotMap:
    """The primary of each slot, as one node reported it and others corrected it."""

    def __init__(self, owners: Sequence[Address | None]) -> None:
        if len(owners) != SLOTS:
            raise ValueError(f"a cluster has {SLOTS} slots, got {len(owners)}")
        self._owners = list(owners)

    @classmethod
    def from_reply(cls, reply: Any, asked: Address) -> SlotMap:
        """Return the map in the reply to ``CLUSTER SLOTS``: ranges, each with its primary first.

        A node without a host has the host of the node that was asked.

        Raises:
            StoreRefusedError: It is no such reply.
        """
        owners: list[Address | None] = [None] * SLOTS
        try:
            for first, last, (host, port, *_), *_ in reply:
                if host == b"?":
                    continue  # its address is not known yet
                address = Address(host.decode() if host else asked.host, port)
                owners[first : last + 1] = [address] * (last + 1 - first)
            return cls(owners)
        except (TypeError, ValueError, AttributeError):
            raise StoreRefusedError(
                f"ask {asked} for the cluster's layout", f"this is none: {reply!r}"
            ) from None

    def owner(self, slot: int) -> Address | None:
        """Return the primary of a slot, ``None`` where none is known."""
        return self._owners[slot]

    def move(self, slot: int, address: Address) -> None:
        """Set the primary of a slot."""
        self._owners[slot] = address

    @property
    def is_complete(self) -> bool:
        """Whether every slot has a primary."""
        return None not in self._owners

    def primaries(self) -> dict[Address, int]:
        """Return the primaries, each with its first slot."""
        found: dict[Address, int] = {}
        for slot, owner in enumerate(self._owners):
            if owner is not None:
                found.setdefault(owner, slot)
        return found


def key_in_slot(prefix: bytes, slot: int) -> bytes:
    """Return a key in the slot that begins with the prefix, which has no brace."""
    number = 0
    while crc_hqx(b"%d" % number, 0) % SLOTS != slot:
        number += 1
    return b"%s{%d}" % (prefix, number)
