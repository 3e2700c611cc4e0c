"""Reads rows of state and writes them by compare-and-set on their watermarks.

A write is one script on one key: a row and its watermarks change together, the slower of two writers of a row
notices, and Redis Cluster can run it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

import hiredis

from reprise.store.client import StoreClient
from reprise.store.exceptions import CorruptRowError
from reprise.store.feast import protobuf
from reprise.store.feast.codec import State, ViewCodec
from reprise.store.feast.layout import field_name, join_values
from reprise.store.feast.view import WATERMARKS
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.blocking import BlockingTransport, ReplicationIds
from reprise.store.transport.resp import Command, glob_escaped, pack
from reprise.store.watermarks import Watermarks, parse_log_position

# A row without watermarks, or with null ones as Feast may write them, compares as the empty string.
WRITE_SCRIPT = b"""\
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
return 1
"""
# Removes a hash if all its fields are as they were read.
_REMOVE_SCRIPT = b"""\
for at = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[at]) ~= ARGV[at + 1] then return 0 end
end
for at = 1, #ARGV, 2 do redis.call('HDEL', KEYS[1], ARGV[at]) end
return 1
"""
_SCANNED_KEYS = 1_000
_NOTED = timedelta(days=30)
_WRITE_SHA = hashlib.sha1(WRITE_SCRIPT, usedforsecurity=False).hexdigest().encode()


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One row as it is in the store, with the bytes of its watermarks; all ``None`` where there is no row.

    It holds from ``event_timestamp_us`` on, microseconds since 1970-01-01 UTC.
    """

    state: list[Any]
    watermarks: bytes | None
    event_timestamp_us: int | None

    @property
    def exists(self) -> bool:
        """Whether the store has the row."""
        return self.event_timestamp_us is not None


@dataclass(frozen=True, slots=True)
class GuardedWrite:
    """A row to write if its watermarks are still the expected ones, those that it was read with."""

    codec: ViewCodec
    key: bytes
    expected_watermarks: bytes | None
    state: State
    watermarks: bytes
    # From when the row holds, ``TICK_US`` after its newest event, microseconds since 1970-01-01 UTC
    event_timestamp_us: int
    # The state that the row was read with: only fields that differ are written. ``None`` writes all of them.
    previous: State | None = None


class OnlineStore(StoreClient):
    """Rows of state in Redis, for one thread of a process that folds events into them.

    Reads and guarded writes may run twice without harm. A server that takes a primary's place may lack what the
    primary acknowledged: take ``replication_ids`` before reading and writing, and call ``wait_for_replicas`` after.
    """

    def __init__(self, transport: BlockingTransport, settings: OnlineStoreSettings) -> None:
        super().__init__(transport, settings)
        self._project = settings.feast_project.encode()
        self._dedup_prefix = b"seen:%s:" % settings.feast_project.encode()
        self._script_sent = False

    def replication_ids(self) -> ReplicationIds:
        """Return the replication id of each primary; empty where no replicas are waited for."""
        if not self._replicas:
            return {}
        with self.convert_errors("ask for the primaries"):
            return self.transport.replication_ids()

    def wait_for_replicas(self, replication_ids: ReplicationIds) -> None:
        """Wait until enough replicas have all that was read and written since replication ids were taken.

        Does nothing where no replicas are waited for.

        Raises:
            StoreUnavailableError: Too few replicas have it, or another server has become a primary since
                and may lack some of it: read and write again, with new replication ids.
        """
        if self._replicas:
            with self.convert_errors("wait for replicas"):
                self.transport.wait_for_replicas(replication_ids, self._replicas)

    def read(self, rows: Sequence[tuple[ViewCodec, bytes]]) -> list[StoredRow]:
        """Return the rows with these keys, in order, in one round trip.

        Raises:
            CorruptRowError: A row does not match its view.
        """
        operation = f"read {len(rows)} rows"
        keys = [key for _, key in rows]
        replies = self.execute([codec.fold_command(key) for codec, key in rows], keys, operation)
        self.raise_first_error(replies, rows, operation)
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

        The writes of one call have no order and are independent: after an error some may have happened.

        Returns:
            For each write whether it happened. ``False``: the row has changed since it was read, or this write
            happened on a connection that was lost before the answer. Read the row again and compare watermarks.

        Raises:
            UnencodableStateError: A number does not fit its field; nothing is written.
            CorruptRowError: A key holds something that is no row.
        """
        operation = f"write {len(writes)} rows"
        arguments = [_script_arguments(write) for write in writes]
        keys = [write.key for write in writes]
        commands = [pack(b"EVALSHA", _WRITE_SHA, *given) for given in arguments]
        if commands and not self._script_sent:
            commands[0] = _with_script(arguments[0])
        replies = self.execute(commands, keys, operation)
        missing = [position for position, reply in enumerate(replies) if _is_error(reply, "NOSCRIPT")]
        again = self.execute(
            [_with_script(arguments[position]) for position in missing],
            [keys[position] for position in missing],
            operation,
        )
        for position, reply in zip(missing, again, strict=True):
            replies[position] = reply
        self._script_sent = self._script_sent or bool(commands)
        self.raise_first_error(replies, [(write.codec, write.key) for write in writes], operation)
        return [reply == 1 for reply in replies]

    def claim_event_ids(self, entries: Sequence[tuple[str, bytes]], ttl: timedelta) -> list[bytes]:
        """Store the position of each event id that has none yet, as ``log_position`` returns it, in one round trip.

        Returns:
            For each entry the first position of its id, kept for ``ttl``. An entry with another one is a duplicate.
        """
        operation = f"remember {len(entries)} events"
        milliseconds = max(1, ttl // timedelta(milliseconds=1))
        keys = [self._dedup_key(event_id) for event_id, _ in entries]
        commands = [
            pack(b"SET", key, position, b"NX", b"GET", b"PX", milliseconds)
            for key, (_, position) in zip(keys, entries, strict=True)
        ]
        replies = self.execute(commands, keys, operation)
        self.raise_refusal(replies, operation)
        return [
            position if reply is None else reply
            for (_, position), reply in zip(entries, replies, strict=True)
        ]

    def forget_event_id(self, event_id: str) -> None:
        """Let what ``claim_event_ids`` stored of an event id expire."""
        key, operation = self._dedup_key(event_id), "forget an event"
        self.raise_refusal(self.execute([pack(b"SET", key, b"", b"PX", 1)], [key], operation), operation)

    def erase_users(self, user_ids: Collection[str]) -> int:
        """Remove all rows of users and of their pairs, of all views, and return how many entities had some.

        Every key of the store is listed, some million in a second.
        """
        operation = "erase users"
        removed = 0
        for batch in self._keys_of_users(user_ids, operation):
            replies = self.execute([pack(b"UNLINK", key) for key in batch], list(batch), operation)
            self.raise_refusal(replies, operation)
            removed += sum(replies)
        return removed

    def erase_rows_before(self, positions: Mapping[str, bytes]) -> int:
        """Remove what is left of users and of their pairs from before a position of the log, by user.

        A consumer that has lost its partition may write such rows after ``erase_users``. Rows of a user who returned
        have watermarks past the position, and stay. Returns how many entities had rows that were removed.
        """
        operation = "erase rows of users"
        removed = 0
        for batch in self._keys_of_users(positions, operation):
            left = batch
            while left:
                rows = self.execute([pack(b"HGETALL", key) for key in left], list(left), operation)
                self.raise_refusal(rows, operation)
                stale = {
                    key: row
                    for (key, user), row in zip(left.items(), rows, strict=True)
                    if _is_before(dict(zip(row[::2], row[1::2], strict=True)), positions[user])
                }
                commands = [pack(b"EVAL", _REMOVE_SCRIPT, 1, key, *row) for key, row in stale.items()]
                replies = self.execute(commands, list(stale), operation)
                self.raise_refusal(replies, operation)
                removed += sum(replies)
                # the others have changed since they were read
                left = {key: left[key] for key, done in zip(stale, replies, strict=True) if not done}
        return removed

    def _keys_of_users(self, user_ids: Collection[str], operation: str) -> Iterator[dict[bytes, str]]:
        """Yield the keys of users and of their pairs with the user's id, some at a time."""
        pattern = b"*user_id*"
        if len(user_ids) == 1:
            pattern += glob_escaped(next(iter(user_ids)).encode(errors="surrogatepass")) + b"*"
        with self.convert_errors(operation):
            found = (
                (key, ids["user_id"])
                for key in self.transport.scan(pattern, _SCANNED_KEYS)
                if (ids := join_values(key, self._project)) and ids.get("user_id") in user_ids
            )
            while batch := dict(islice(found, _SCANNED_KEYS)):
                yield batch

    def note_erasure(self, erasure_id: str, position: bytes) -> None:
        """Note that the user of an erasure has been erased, at its position as ``log_position`` returns it."""
        self.claim_event_ids([(f"erased {erasure_id}", position)], _NOTED)

    def erasure_position(self, erasure_id: str) -> bytes | None:
        """Return the position of an erasure that was noted within a month, or None."""
        [position] = self.read_values([self._dedup_key(f"erased {erasure_id}")])
        return position

    def read_values(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of keys, in order; None where there is none."""
        operation = f"read {len(keys)} values"
        replies = self.execute([pack(b"GET", key) for key in keys], keys, operation)
        self.raise_refusal(replies, operation)
        return replies

    def write_values(self, values: Mapping[bytes, bytes]) -> None:
        """Set the values of keys for a month."""
        operation, seconds = f"write {len(values)} values", int(_NOTED.total_seconds())
        commands = [pack(b"SET", key, value, b"EX", seconds) for key, value in values.items()]
        self.raise_refusal(self.execute(commands, list(values), operation), operation)

    def raise_first_error(
        self, replies: Sequence[Any], rows: Sequence[tuple[ViewCodec, bytes]], operation: str
    ) -> None:
        """Raise for the first reply that is an error; a key without a hash is a ``CorruptRowError``."""
        for (codec, key), reply in zip(rows, replies, strict=True):
            if _is_error(reply, "WRONGTYPE"):
                raise CorruptRowError(codec.view.name, "*", key, "the key holds no hash")
        self.raise_refusal(replies, operation)

    def _dedup_key(self, event_id: str) -> bytes:
        # A digest bounds the key's size whatever the ids are; no key of Feast's begins with a letter.
        digest = hashlib.blake2b(event_id.encode(errors="surrogatepass"), digest_size=16).digest()
        return self._dedup_prefix + digest


def _is_error(reply: Any, code: str) -> bool:
    # An error within a script is wrapped in text of Redis.
    return isinstance(reply, hiredis.ReplyError) and code in str(reply)


def _is_before(row: Mapping[bytes, bytes], position: bytes) -> bool:
    """Tell whether the watermarks of all views of a hash have a record's partition, up to the record at most."""
    topic, partition, offset = parse_log_position(position)
    views = [name.removeprefix(b"_ts:").decode() for name in row if name.startswith(b"_ts:")]
    values = [row.get(field_name(view, WATERMARKS)) for view in views]
    found = [Watermarks.parse(protobuf.decode_bytes(value)) for value in values if value]
    return bool(found) and all(
        each.topic == topic and each.offsets.get(partition, offset + 1) <= offset for each in found
    )


def _with_script(arguments: Sequence[bytes | int]) -> Command:
    # EVAL rather than SCRIPT LOAD: it takes no extra round trip and reaches the right node of a cluster.
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
