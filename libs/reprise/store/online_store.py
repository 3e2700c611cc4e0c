"""What the materializer does with Redis: reads rows, and writes them only if nobody else has.

A write is a compare-and-set on the row's watermarks, one small script on one key, so that a row and its
watermarks change together, the slower of two writers of a row notices, and Redis Cluster can run it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import hiredis

from reprise.store.exceptions import CorruptRowError, StoreError, StoreUnavailableError
from reprise.store.feast import protobuf
from reprise.store.feast.codec import State, ViewCodec
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.blocking_connection import Command, pack
from reprise.store.transport.cluster import ClusterTransport
from reprise.store.transport.connection import ConnectionLostError, reply_error, tls_context
from reprise.store.transport.server import (
    INFO_REPLICATION,
    ReplicationIds,
    ServerTransport,
    Transport,
    replication_id,
)

# A row without watermarks, or with null ones as Feast may write them, compares as the empty string.
WRITE_SCRIPT = b"""\
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
return 1
"""
_WRITE_SHA = hashlib.sha1(WRITE_SCRIPT, usedforsecurity=False).hexdigest().encode()


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One row as it is in the store.

    Attributes:
        state: The numbers in the order of the view's fields; all ``None`` where there is no row.
        watermarks: The bytes of its watermarks, ``None`` where it has none.
        event_timestamp_us: The instant from which it holds, microseconds since 1970-01-01 UTC; ``None`` where
            there is no row.
    """

    state: list[float | int | None]
    watermarks: bytes | None
    event_timestamp_us: int | None

    @property
    def exists(self) -> bool:
        """Whether the store has the row at all."""
        return self.event_timestamp_us is not None


@dataclass(frozen=True, slots=True)
class GuardedWrite:
    """A row to write, if its watermarks are still the expected ones.

    Attributes:
        codec: The codec of the row's view.
        key: The row's key, as the codec makes it.
        expected_watermarks: The watermarks that the row was read with; ``None`` where it had none.
        state: The numbers to write, in the order of the view's fields.
        watermarks: The watermarks to write.
        event_timestamp_us: The instant from which the row holds, ``TICK_US`` after its newest event,
            microseconds since 1970-01-01 UTC.
        previous: The state that the row was read with, of which only what differs is written; ``None``
            where there was no row, or where all of it is to be written.
    """

    codec: ViewCodec
    key: bytes
    expected_watermarks: bytes | None
    state: State
    watermarks: bytes
    event_timestamp_us: int
    previous: State | None = None


class OnlineStore:
    """Rows of state in Redis, for one thread of a process that folds events into them.

    A lost connection is made again and the commands on it are sent again, a few times within a second or
    two: reads and guarded writes may run twice without harm.

    What one server has said to have written, a server that takes its place need not have. Who has to know that
    it will have it takes the ``replication_ids`` before reading and writing, and calls ``wait_for_replicas`` after.

    Args:
        servers: Who has the rows; the store closes them.
        address: The store's address for error messages.
        project: The Feast project, which separates what is remembered of events.
        replicas: How many replicas of each primary have to have what was written for it to be settled.
    """

    def __init__(self, servers: Transport, address: str, project: str, replicas: int) -> None:
        self._servers = servers
        self._address = address
        self._memory_prefix = b"seen:" + project.encode() + b":"
        self._replicas = replicas
        self._script_sent = False

    @classmethod
    def connect(cls, settings: OnlineStoreSettings) -> Self:
        """Return a store at the configured address; it connects when first used.

        Raises:
            StoreRefusedError: The file of authorities is no PEM file.
        """
        kind = ClusterTransport if settings.is_cluster else ServerTransport
        servers = kind(settings, settings.feast_project, tls_context(settings))
        return cls(servers, settings.redis_address, settings.feast_project, settings.replicas_waited_for)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._servers.close()

    def ping(self) -> None:
        """Return once the store answers, all primaries of it.

        Raises:
            StoreError: It does not, or refuses.
        """
        with self._converted("ping"):
            replies = self._servers.run_everywhere(pack(b"PING"))
        self._raise_refusal(replies.values(), "ping")

    def replication_ids(self) -> ReplicationIds:
        """Return which servers hold the store now; nothing where no replicas are waited for.

        Raises:
            StoreError: The store is away, or refuses.
        """
        if not self._replicas:
            return {}
        doing = "ask for the primaries"
        with self._converted(doing):
            replies = self._servers.run_everywhere(INFO_REPLICATION)
            return {address: replication_id(address, reply) for address, reply in replies.items()}

    def wait_for_replicas(self, replication_ids: ReplicationIds) -> None:
        """Wait until enough replicas have all that was read and written since replication ids were taken.

        Does nothing where no replicas are waited for.

        Raises:
            StoreUnavailableError: Too few replicas have it, or another server has taken a primary's place since
                and may lack some of it: read and write again, with new replication ids.
            StoreError: The store is away, or refuses.
        """
        if self._replicas:
            with self._converted("wait for replicas"):
                self._servers.wait_for_replicas(replication_ids, self._replicas)

    def read(self, rows: Sequence[tuple[ViewCodec, bytes]]) -> list[StoredRow]:
        """Return the rows with these keys, in order, in one round trip.

        Raises:
            StoreError: The store is away, or refuses.
            CorruptRowError: A row does not hold what its view says.
        """
        doing = f"read {len(rows)} rows"
        keys = [key for _, key in rows]
        replies = self._run([codec.fold_command(key) for codec, key in rows], keys, doing)
        self._raise_first_error(replies, rows, doing)
        return [
            StoredRow(
                codec.decode(reply, key),
                codec.decode_watermarks(reply, key),
                codec.decode_timestamp(reply, key),
            )
            for (codec, key), reply in zip(rows, replies, strict=True)
        ]

    def write_guarded(self, writes: Sequence[GuardedWrite]) -> list[bool]:
        """Write the rows whose watermarks are still the expected ones, in one round trip.

        The writes of one call are not ordered among themselves, and each stands for itself: after an error
        some may have happened.

        Returns:
            For each write whether it happened. ``False`` says that the row has changed since it was read, or
            that this very write happened on a connection that was lost before the answer: read the row
            again, its watermarks tell.

        Raises:
            UnencodableStateError: A number does not fit its field; nothing is written.
            StoreError: The store is away, or refuses.
            CorruptRowError: A key holds something that is no row.
        """
        doing = f"write {len(writes)} rows"
        arguments = [_script_arguments(write) for write in writes]
        keys = [write.key for write in writes]
        commands = [pack(b"EVALSHA", _WRITE_SHA, *given) for given in arguments]
        if commands and not self._script_sent:
            commands[0] = _with_script(arguments[0])
        replies = self._run(commands, keys, doing)
        missing = [position for position, reply in enumerate(replies) if _says(reply, "NOSCRIPT")]
        again = self._run(
            [_with_script(arguments[position]) for position in missing],
            [keys[position] for position in missing],
            doing,
        )
        for position, reply in zip(missing, again, strict=True):
            replies[position] = reply
        self._script_sent = self._script_sent or bool(commands)
        self._raise_first_error(replies, [(write.codec, write.key) for write in writes], doing)
        return [reply == 1 for reply in replies]

    def claim_event_ids(self, entries: Sequence[tuple[str, bytes]], ttl: timedelta) -> list[bytes]:
        """Remember where each event was first seen, for a while, in one round trip.

        Args:
            entries: Event ids with the position (topic, partition and offset, in bytes) they are seen at now.
            ttl: How long an id is remembered from when it is first seen.

        Returns:
            For each entry the position at which its id was first seen, its own if that is now. An entry
            whose answer is another position is a duplicate.

        Raises:
            StoreError: The store is away, or refuses.
        """
        doing = f"remember {len(entries)} events"
        milliseconds = max(1, ttl // timedelta(milliseconds=1))
        keys = [self._memory_key(event_id) for event_id, _ in entries]
        commands = [
            pack(b"SET", key, position, b"NX", b"GET", b"PX", milliseconds)
            for key, (_, position) in zip(keys, entries, strict=True)
        ]
        replies = self._run(commands, keys, doing)
        self._raise_refusal(replies, doing)
        return [
            position if reply is None else reply
            for (_, position), reply in zip(entries, replies, strict=True)
        ]

    def _memory_key(self, event_id: str) -> bytes:
        # A digest bounds the key's size whatever the ids are; no key of Feast's begins with a letter.
        digest = hashlib.blake2b(event_id.encode(errors="surrogatepass"), digest_size=16).digest()
        return self._memory_prefix + digest

    def _run(self, commands: Sequence[Command], keys: Sequence[bytes], doing: str) -> list[Any]:
        """Send the commands at once and return their replies, an error that Redis answered among them."""
        if not commands:
            return []
        with self._converted(doing):
            return self._servers.run(commands, keys)

    def _raise_first_error(
        self, replies: Sequence[Any], rows: Sequence[tuple[ViewCodec, bytes]], doing: str
    ) -> None:
        for (codec, key), reply in zip(rows, replies, strict=True):
            if _says(reply, "WRONGTYPE"):
                raise CorruptRowError(codec.view.name, "*", key, "the key holds no hash")
        self._raise_refusal(replies, doing)

    def _raise_refusal(self, replies: Iterable[Any], doing: str) -> None:
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise reply_error(f"{doing} at {self._address}", reply)

    @contextmanager
    def _converted(self, doing: str) -> Iterator[None]:
        doing = f"{doing} at {self._address}"
        try:
            yield
        except ConnectionLostError as error:
            raise StoreUnavailableError(doing, str(error)) from error
        except StoreError as error:
            raise type(error)(doing, str(error)) from error


def _says(reply: Any, code: str) -> bool:
    # a script's own error comes with words of Redis before and after that of the command within
    return isinstance(reply, hiredis.ReplyError) and code in str(reply)


def _with_script(arguments: Sequence[bytes | int]) -> Command:
    # EVAL rather than SCRIPT LOAD: it takes no round trip of its own, and reaches the right node of a cluster.
    return pack(b"EVAL", WRITE_SCRIPT, *arguments)


def _script_arguments(write: GuardedWrite) -> Sequence[bytes | int]:
    codec, expected = write.codec, write.expected_watermarks
    return (
        1,
        write.key,
        codec.watermarks_field,
        protobuf.NULL if expected is None else protobuf.encode_bytes(expected),
        *codec.encode(write.state, write.watermarks, write.event_timestamp_us, write.previous),
    )
