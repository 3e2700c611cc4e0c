"""The blocking transport of one server, and what it has in common with the one of a cluster."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import hiredis

from reprise.store.exceptions import StoreUnavailableError
from reprise.store.settings import Address, OnlineStoreSettings
from reprise.store.transport.blocking_connection import BlockingConnection
from reprise.store.transport.resp import Command, ConnectionLostError, pack, reply_error

ReplicationIds = Mapping[Address, bytes]
"""The replication id of each primary; a promoted replica has another one, and so has a restarted server."""

INFO_REPLICATION: Final = pack(b"INFO", b"replication")
_RETRIES = 3
_WAIT_SHARE = 0.8  # of the timeout of an answer, so that the answer still comes
_MARKER_SECONDS = 60


class ServerTransport:
    """Sends commands to one server, and returns the replies.

    Methods raise ``ConnectionLostError`` where a server is away or does not answer in time, and ``StoreError`` where
    the store refuses or, as a whole, does not work.
    """

    def __init__(self, settings: OnlineStoreSettings, tls: ssl.SSLContext | None) -> None:
        self._connection = BlockingConnection(settings, settings.redis_addresses[0], tls, settings.redis_db)
        self._marker = marker_prefix(settings)
        self._wait_ms = wait_milliseconds(settings)

    def execute(self, commands: Sequence[Command], keys: Sequence[bytes]) -> list[Any]:  # noqa: ARG002
        """Send commands, each with its key, and return their replies in order, errors of Redis among them.

        Any command may run twice.
        """
        for pause in pauses(_RETRIES):
            try:
                return self._connection.execute(commands)
            except ConnectionLostError:
                time.sleep(pause)
        return self._connection.execute(commands)

    def execute_on_primaries(self, command: Command) -> dict[Address, Any]:
        """Send a command without a key to every primary, and return the replies, errors of Redis among them."""
        return {self._connection.address: self.execute([command], [b""])[0]}

    def wait_for_replicas(self, replication_ids: ReplicationIds, replicas: int) -> None:
        """Wait until ``replicas`` replicas of each primary have what it had when this was called.

        Args:
            replication_ids: The primaries before the first of the reads and writes in question.
            replicas: The number of replicas.

        Raises:
            StoreUnavailableError: A primary has been replaced, or too few replicas followed in time.
        """
        replies = self._connection.execute(wait_commands(self._marker, replicas, self._wait_ms))
        check_replicated(self._connection.address, replies, replication_ids, replicas)

    def scan(self, pattern: bytes, count: int) -> Iterator[bytes]:
        """Yield the keys that match; a key may come several times."""
        return scan_keys(self._connection, pattern, count)

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()


def pauses(times: int) -> Iterator[float]:
    """Yield the seconds to wait before each retry: exponential backoff with jitter."""
    for number in range(times):
        yield min(0.5, 0.05 * 2**number) * random.uniform(0.5, 1.0)


def wait_milliseconds(settings: OnlineStoreSettings) -> int:
    """Return the timeout of ``WAIT``, in milliseconds."""
    return max(1, int(settings.redis_timeout * 1000 * _WAIT_SHARE))


def marker_prefix(settings: OnlineStoreSettings) -> bytes:
    """Return the prefix of the key that is written before ``WAIT``."""
    return b"settled:%s:" % settings.feast_project.encode()


def replication_id(address: Address, reply: Any) -> bytes:
    """Return a primary's replication id from its reply to ``INFO_REPLICATION``.

    Raises:
        StoreError: The server is no primary, or refuses.
    """
    operation = f"ask {address} for its replication"
    if isinstance(reply, hiredis.ReplyError):
        raise reply_error(operation, reply)
    fields: dict[bytes, bytes] = dict(line.split(b":", 1) for line in reply.splitlines() if b":" in line)
    if fields.get(b"role") != b"master" or b"master_replid" not in fields:
        raise StoreUnavailableError(operation, "it is no primary")
    return fields[b"master_replid"]


def wait_commands(marker: bytes, replicas: int, milliseconds: int) -> list[Command]:
    """Return the commands whose replies say how many replicas have what came before.

    A write comes first, because ``WAIT`` waits for the last write of its own connection.
    """
    return [
        pack(b"SET", marker, b"", b"EX", _MARKER_SECONDS),
        pack(b"WAIT", replicas, milliseconds),
        INFO_REPLICATION,
    ]


def check_replicated(
    address: Address, replies: Sequence[Any], replication_ids: ReplicationIds, replicas: int
) -> None:
    """Raise ``StoreError`` unless the replies to ``wait_commands`` say that the replicas have everything."""
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            raise StoreUnavailableError(f"wait for replicas of {address}", str(reply))
    _, reached, described = replies
    if replication_id(address, described) != replication_ids.get(address):
        raise StoreUnavailableError(
            f"wait for replicas of {address}",
            "it has become the primary since, and may lack what was written",
        )
    if reached < replicas:
        raise StoreUnavailableError(
            f"wait for replicas of {address}",
            f"{reached} replicas have what was written, and REDIS_WAIT_REPLICAS asks for {replicas}",
        )


def scan_keys(connection: BlockingConnection, pattern: bytes, count: int) -> Iterator[bytes]:
    """Yield the keys of one server that match."""
    cursor = b"0"
    while True:
        (reply,) = connection.execute([pack(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", count)])
        if isinstance(reply, hiredis.ReplyError):
            raise reply_error(f"list the keys of {connection.address}", reply)
        cursor, keys = reply
        yield from keys
        if cursor == b"0":
            return
