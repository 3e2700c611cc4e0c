"""What the materializer does with Redis: reads rows, and writes them only if nobody else has.

A write is a compare-and-set on the row's watermarks, one small script on one key, so that a row and its
watermarks change together, the slower of two writers of a row notices, and Redis Cluster can run it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    NoScriptError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from reprise_online import wire
from reprise_online.codec import State, ViewCodec
from reprise_online.exceptions import CorruptRowError, StoreError, StoreRefusedError, StoreUnavailableError
from reprise_online.settings import OnlineStoreSettings

# A row without watermarks, or with null ones as Feast may write them, compares as the empty string.
WRITE_SCRIPT = b"""\
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
return 1
"""
_WRITE_SHA = hashlib.sha1(WRITE_SCRIPT, usedforsecurity=False).hexdigest()
_RETRIES = 3


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One row as it is in the store.

    Attributes:
        state: The numbers in the order of the view's fields; all ``None`` where there is no row.
        watermarks: The bytes of its watermarks, ``None`` where it has none.
        event_timestamp_us: Timestamp of the newest folded event, microseconds since 1970-01-01 UTC; ``None``
            where there is no row.
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
        event_timestamp_us: Timestamp of the newest folded event, microseconds since 1970-01-01 UTC.
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
    """Rows of state in Redis, for one process that folds events into them.

    A lost connection is made again and the commands on it are sent again, a few times within a second or
    two: reads and guarded writes may run twice without harm.

    Args:
        client: A client that answers in bytes; the store closes it.
        address: The store's address for error messages.
        project: The Feast project, which separates what is remembered of events.
    """

    def __init__(self, client: Redis, address: str, project: str) -> None:
        self._client = client
        self._address = address
        self._project = project
        self._script_sent = False

    @classmethod
    def connect(cls, settings: OnlineStoreSettings) -> Self:
        """Return a store at the configured address; it connects when first used."""
        password = settings.redis_password
        client = Redis(
            host=settings.redis_host,
            port=settings.redis_port,
            db=settings.redis_db,
            username=settings.redis_username,
            password=password.get_secret_value() if password else None,
            ssl=settings.redis_tls,
            ssl_ca_certs=str(settings.redis_ca_file) if settings.redis_ca_file else None,
            socket_timeout=settings.redis_timeout,
            socket_connect_timeout=settings.redis_connect_timeout,
            socket_keepalive=True,
            retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), _RETRIES),
        )
        return cls(client, settings.redis_address, settings.feast_project)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ping(self) -> None:
        """Return once the store answers.

        Raises:
            StoreError: It does not, or refuses.
        """
        with self._converted("ping"):
            self._client.ping()

    def read(self, rows: Sequence[tuple[ViewCodec, bytes]]) -> list[StoredRow]:
        """Return the rows with these keys, in order, in one round trip.

        Raises:
            StoreError: The store is away, or refuses.
            CorruptRowError: A row does not hold what its view says.
        """
        doing = f"read {len(rows)} rows"
        replies = self._pipeline([(b"HMGET", key, *codec.fold_fields) for codec, key in rows], doing)
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
        commands = [(b"EVALSHA", _WRITE_SHA, *args) for args in arguments]
        if commands and not self._script_sent:
            commands[0] = _with_script(arguments[0])
        replies = self._pipeline(commands, doing)
        missing = [position for position, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        again = self._pipeline([_with_script(arguments[position]) for position in missing], doing)
        for position, reply in zip(missing, again, strict=True):
            replies[position] = reply
        self._script_sent = self._script_sent or bool(commands)
        self._raise_first_error(replies, [(write.codec, write.key) for write in writes], doing)
        return [reply == 1 for reply in replies]

    def remember_events(self, entries: Sequence[tuple[str, bytes]], ttl: timedelta) -> list[bytes]:
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
        replies = self._pipeline(
            [
                (b"SET", self._memory_key(event_id), position, b"NX", b"GET", b"PX", milliseconds)
                for event_id, position in entries
            ],
            doing,
        )
        for reply in replies:
            if isinstance(reply, Exception):
                raise self._converted_error(doing, reply) from reply
        return [
            position if reply is None else reply
            for (_, position), reply in zip(entries, replies, strict=True)
        ]

    def _memory_key(self, event_id: str) -> bytes:
        # A digest bounds the key's size whatever the ids are; no key of Feast's begins with a letter.
        digest = hashlib.blake2b(event_id.encode(errors="surrogatepass"), digest_size=16).digest()
        return b"seen:" + self._project.encode() + b":" + digest

    def _pipeline(self, commands: Sequence[tuple[Any, ...]], doing: str) -> list[Any]:
        """Send the commands at once and return their replies, an error that Redis answered among them.

        Redis's own pipeline object costs as much a command as all the rest of it.
        """
        if not commands:
            return []
        connection: Any
        with self._converted(doing):
            pool = self._client.connection_pool
            connection = pool.get_connection()
            try:
                replies: list[Any] = connection.retry.call_with_retry(
                    lambda: _exchange(connection, commands), lambda _: connection.disconnect()
                )
            finally:
                pool.release(connection)
        return replies

    def _raise_first_error(
        self, replies: Sequence[Any], rows: Sequence[tuple[ViewCodec, bytes]], doing: str
    ) -> None:
        for (codec, key), reply in zip(rows, replies, strict=True):
            if isinstance(reply, Exception):
                if "WRONGTYPE" in str(reply):
                    raise CorruptRowError(codec.view.name, "*", key, "the key holds no hash") from reply
                raise self._converted_error(doing, reply) from reply

    @contextmanager
    def _converted(self, doing: str) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            raise self._converted_error(doing, error) from error

    def _converted_error(self, doing: str, error: Exception) -> StoreError:
        doing = f"{doing} at {self._address}"
        away = (RedisConnectionError, RedisTimeoutError, TryAgainError, ClusterDownError)
        refusal = (AuthenticationError, AuthorizationError)
        if isinstance(error, away) and not isinstance(error, refusal):
            return StoreUnavailableError(doing, str(error))
        return StoreRefusedError(doing, str(error))


def _exchange(connection: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    connection.send_packed_command(connection.pack_commands(commands))
    read = connection.read_response
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(read(disable_decoding=True))
        except ResponseError as error:
            replies.append(error)
    return replies


def _with_script(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    # EVAL rather than SCRIPT LOAD: it takes no round trip of its own, and reaches the right node of a cluster.
    return (b"EVAL", WRITE_SCRIPT, *arguments)


def _script_arguments(write: GuardedWrite) -> tuple[Any, ...]:
    codec, expected = write.codec, write.expected_watermarks
    return (
        1,
        write.key,
        codec.watermarks_field,
        wire.NULL if expected is None else wire.encode_bytes(expected),
        *codec.encode(write.state, write.watermarks, write.event_timestamp_us, write.previous),
    )
