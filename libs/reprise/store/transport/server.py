"""Where the store's commands go: one server here, the nodes of a cluster in `cluster`; and what replicas have."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import hiredis

from reprise.store.exceptions import StoreUnavailableError
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.blocking_connection import BlockingConnection, Command, pack
from reprise.store.transport.connection import ConnectionLostError, reply_error
from reprise.store.transport.slots import Address

ReplicationIds = Mapping[Address, bytes]
"""The replication id of each primary: a replica that is promoted has another, and so has a server that restarts."""

INFO_REPLICATION: Final = pack(b"INFO", b"replication")
_RETRIES = 3
_WAIT_SHARE = 0.8  # of the longest wait for an answer, so that the answer still comes
_MARKER_SECONDS = 60


class Transport(Protocol):
    """Takes commands to whoever has their keys, and brings the replies."""

    def run(self, commands: Sequence[Command], keys: Sequence[bytes]) -> list[Any]:
        """Send commands at once and return their replies in order, errors among them; any may run twice.

        Args:
            commands: The commands.
            keys: The key of each.

        Raises:
            ConnectionLostError: A server is away, or does not answer in time.
            StoreError: The store as a whole does not work, or refuses.
        """

    def run_everywhere(self, command: Command) -> dict[Address, Any]:
        """Send a command without a key to every primary, and return the replies, errors among them.

        Raises:
            ConnectionLostError: A server is away, or does not answer in time.
            StoreError: The store as a whole does not work, or refuses.
        """

    def wait_for_replicas(self, replication_ids: ReplicationIds, replicas: int) -> None:
        """Wait until as many replicas of each primary have all that it had when this was called.

        Args:
            replication_ids: The primaries before the first of what is to be settled was read or written.
            replicas: How many.

        Raises:
            StoreUnavailableError: The primaries are others by now, or too few replicas came up in time.
            ConnectionLostError: A server is away, or does not answer in time.
        """

    def scan(self, pattern: bytes, count: int) -> Iterator[bytes]:
        """Yield the keys that match; one may come several times.

        Raises:
            ConnectionLostError: A server is away, or does not answer in time.
            StoreError: It refuses.
        """

    def close(self) -> None:
        """Drop the connections."""


class ServerTransport:
    """A server that has all keys."""

    def __init__(self, settings: OnlineStoreSettings, project: str, tls: ssl.SSLContext | None) -> None:
        self._link = BlockingConnection(settings, settings.redis_addresses[0], tls, settings.redis_db)
        self._marker = marker_prefix(project)
        self._wait_ms = wait_milliseconds(settings)

    def run(
        self,
        commands: Sequence[Command],
        keys: Sequence[bytes],  # noqa: ARG002 - the one server has them all
    ) -> list[Any]:
        """See ``Transport``."""
        for pause in pauses(_RETRIES):
            try:
                return self._link.exchange(commands)
            except ConnectionLostError:
                time.sleep(pause)
        return self._link.exchange(commands)

    def run_everywhere(self, command: Command) -> dict[Address, Any]:
        """See ``Transport``."""
        (reply,) = self.run([command], [b""])
        return {self._link.address: reply}

    def wait_for_replicas(self, replication_ids: ReplicationIds, replicas: int) -> None:
        """See ``Transport``."""
        replies = self._link.exchange(wait_commands(self._marker, replicas, self._wait_ms))
        check_replicated(self._link.address, replies, replication_ids, replicas)

    def scan(self, pattern: bytes, count: int) -> Iterator[bytes]:
        """See ``Transport``."""
        return scan_keys(self._link, pattern, count)

    def close(self) -> None:
        """See ``Transport``."""
        self._link.close()


def pauses(times: int) -> Iterator[float]:
    """Yield seconds to wait before one more try, ever longer and never the same for two clients."""
    for number in range(times):
        yield min(0.5, 0.05 * 2**number) * random.uniform(0.5, 1.0)


def wait_milliseconds(settings: OnlineStoreSettings) -> int:
    """Return how long replicas may take."""
    return max(1, int(settings.redis_timeout * 1000 * _WAIT_SHARE))


def marker_prefix(project: str) -> bytes:
    """Return how the key begins that is written last before replicas are waited for."""
    return b"settled:" + project.encode() + b":"


def replication_id(address: Address, reply: Any) -> bytes:
    """Return a primary's replication id, from its answer to ``INFO_REPLICATION``.

    Raises:
        StoreError: It is no primary, or refuses.
    """
    doing = f"ask {address} for its replication"
    if isinstance(reply, hiredis.ReplyError):
        raise reply_error(doing, reply)
    fields: dict[bytes, bytes] = dict(line.split(b":", 1) for line in reply.splitlines() if b":" in line)
    if fields.get(b"role") != b"master" or b"master_replid" not in fields:
        raise StoreUnavailableError(doing, "it is no primary")
    return fields[b"master_replid"]


def wait_commands(marker: bytes, replicas: int, milliseconds: int) -> list[Command]:
    """Return the commands after whose replies replicas have all that came before them.

    A write comes first, because ``WAIT`` is about the last write of its own connection.
    """
    return [
        pack(b"SET", marker, b"", b"EX", _MARKER_SECONDS),
        pack(b"WAIT", replicas, milliseconds),
        INFO_REPLICATION,
    ]


def check_replicated(
    address: Address, replies: Sequence[Any], replication_ids: ReplicationIds, replicas: int
) -> None:
    """Raise ``StoreError`` unless the replies to ``wait_commands`` say that all is where it should be."""
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            raise StoreUnavailableError(f"settle on {address}", str(reply))
    _, reached, described = replies
    if replication_id(address, described) != replication_ids.get(address):
        raise StoreUnavailableError(
            f"settle on {address}", "it has become the primary only now, and may lack what was written"
        )
    if reached < replicas:
        raise StoreUnavailableError(
            f"settle on {address}",
            f"{reached} replicas have what was written, and REDIS_WAIT_REPLICAS asks for {replicas}",
        )


def scan_keys(link: BlockingConnection, pattern: bytes, count: int) -> Iterator[bytes]:
    """Yield the keys of one server that match, see ``Transport``."""
    cursor = b"0"
    while True:
        (reply,) = link.exchange([pack(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", count)])
        if isinstance(reply, hiredis.ReplyError):
            raise reply_error(f"list the keys of {link.address}", reply)
        cursor, keys = reply
        yield from keys
        if cursor == b"0":
            return
