"""What the predictor does with Redis: reads rows, many at once, in one round trip and in time."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

import hiredis
import numpy as np
from numpy.typing import NDArray

from reprise_online.codec import ViewCodec
from reprise_online.connection import (
    Connection,
    ConnectionLostError,
    DeadlineError,
    command,
    open_connection,
    reply_error,
)
from reprise_online.exceptions import CorruptRowError, StoreError, StoreRefusedError, StoreUnavailableError
from reprise_online.settings import OnlineStoreSettings

_FIRST_BACKOFF = 0.02
_LONGEST_BACKOFF = 1.0
_TRIES = 3
_PING = command(b"PING")


class OnlineRow(NamedTuple):
    """One entity's row.

    Attributes:
        state: The numbers in the order of the view's fields; all ``None`` where the entity is not known.
        known: Whether the store has a row of the entity.
    """

    state: list[float | int | None]
    known: bool


@dataclass(frozen=True, slots=True)
class RowBlock:
    """The rows of many entities of one view.

    Attributes:
        state: Shape (entities, fields), NaN for a null and throughout where the entity is not known.
        known: Shape (entities,), whether the store has a row of the entity.
    """

    state: NDArray[np.float64]
    known: NDArray[np.bool_]


class OnlineReader:
    """Reads rows for one process, from one event loop.

    It keeps its connections made in the background, so that a read finds one, and makes them again, ever
    more slowly, while the store is away. A read that finds none waits for one until its deadline; one whose
    connection is lost is sent again on another, within the deadline. Needs the permissions ``HMGET``,
    ``PING`` and, for a database other than 0, ``SELECT``.

    Args:
        settings: Where the store is.
        deadline: Longest that a read takes, in seconds, unless the read says otherwise.
        connections: How many connections to keep; many reads can be under way on each.

    Raises:
        StoreRefusedError: The file of authorities is no PEM file.
    """

    def __init__(
        self, settings: OnlineStoreSettings, *, deadline: float = 0.25, connections: int = 2
    ) -> None:
        if deadline <= 0 or connections < 1:
            raise ValueError("a reader needs a positive deadline and at least one connection")
        self._settings = settings
        self._deadline = deadline
        self._wanted = connections
        self._tls = _tls_context(settings)
        self._live: list[Connection] = []
        self._changed = asyncio.Condition()
        self._failure: StoreError | None = None
        self._keepers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to connect; needs a running event loop. The store need not be there yet."""
        if not self._keepers:
            self._keepers = [asyncio.create_task(self._keep_connected()) for _ in range(self._wanted)]

    async def close(self) -> None:
        """Drop the connections; reads that are under way fail."""
        keepers, self._keepers = self._keepers, []
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)

    async def ping(self, deadline: float | None = None) -> None:
        """Return once the store answers.

        Raises:
            StoreError: It does not in time, or refuses.
        """
        (reply,) = await self._ask(_PING, 1, "ping", deadline)
        if isinstance(reply, hiredis.ReplyError):
            raise reply_error(f"ping {self._settings.redis_address}", reply)

    async def read(
        self, rows: Sequence[tuple[ViewCodec, bytes]], deadline: float | None = None
    ) -> list[OnlineRow]:
        """Return the rows with these keys, in order, in one round trip.

        Args:
            rows: Codec and key of each.
            deadline: Longest that it takes, in seconds; the reader's own by default.

        Raises:
            StoreError: The store is away, or did not answer in time, or refuses.
            CorruptRowError: A row does not hold what its view says.
        """
        if not rows:
            return []
        frame = b"".join([codec.read_command(key) for codec, key in rows])
        replies = await self._ask(frame, len(rows), "read rows", deadline)
        found = []
        for (codec, key), reply in zip(rows, replies, strict=True):
            if isinstance(reply, hiredis.ReplyError):
                raise self._read_error(codec, key, reply)
            found.append(OnlineRow(codec.decode(reply, key), reply[-1] is not None))
        return found

    async def read_blocks(
        self, blocks: Sequence[tuple[ViewCodec, Sequence[bytes]]], deadline: float | None = None
    ) -> list[RowBlock]:
        """Return many rows of several views, all in one round trip; a key that repeats is asked for once.

        Args:
            blocks: Codec and keys of each view.
            deadline: Longest that it takes, in seconds; the reader's own by default.

        Returns:
            For each view its rows, in the order of its keys.

        Raises:
            StoreError: The store is away, or did not answer in time, or refuses.
            CorruptRowError: A row does not hold what its view says.
        """
        unique = [list(dict.fromkeys(keys)) for _, keys in blocks]
        commands = [
            codec.read_command(key) for (codec, _), keys in zip(blocks, unique, strict=True) for key in keys
        ]
        replies = (
            await self._ask(b"".join(commands), len(commands), "read rows", deadline) if commands else []
        )
        found = []
        start = 0
        for (codec, keys), distinct in zip(blocks, unique, strict=True):
            found.append(self._block(codec, keys, distinct, replies[start : start + len(distinct)]))
            start += len(distinct)
        return found

    def _block(
        self, codec: ViewCodec, keys: Sequence[bytes], distinct: list[bytes], rows: list[Any]
    ) -> RowBlock:
        for key, row in zip(distinct, rows, strict=True):
            if isinstance(row, hiredis.ReplyError):
                raise self._read_error(codec, key, row)
        state = codec.decode_many(rows, distinct)
        known = np.array([row[-1] is not None for row in rows], np.bool_)
        if len(distinct) == len(keys):
            return RowBlock(state, known)
        position = {key: index for index, key in enumerate(distinct)}
        order = np.array([position[key] for key in keys], np.intp)
        return RowBlock(state[order], known[order])

    def _read_error(self, codec: ViewCodec, key: bytes, reply: hiredis.ReplyError) -> Exception:
        if str(reply).startswith("WRONGTYPE"):
            return CorruptRowError(codec.view.name, "*", key, "the key holds no hash")
        return reply_error(f"read rows at {self._settings.redis_address}", reply)

    async def _ask(self, frame: bytes, replies: int, doing: str, deadline: float | None) -> list[Any]:
        seconds = self._deadline if deadline is None else deadline
        until = asyncio.get_running_loop().time() + seconds
        lost = ""
        try:
            for _ in range(_TRIES):
                connection = self._least_busy() or await self._wait_for_connection(until)
                try:
                    return await connection.ask(frame, replies, until)
                except ConnectionLostError as error:
                    lost = str(error)
        except (DeadlineError, TimeoutError):
            reason = f"no answer within {seconds * 1000:g} ms"
            if self._failure is not None:
                reason += f" ({self._failure})"
            raise StoreUnavailableError(f"{doing} at {self._settings.redis_address}", reason) from None
        raise StoreUnavailableError(f"{doing} at {self._settings.redis_address}", f"{lost}, {_TRIES} times")

    def _least_busy(self) -> Connection | None:
        # A connection may be dead for a moment before its keeper is told.
        return min((connection for connection in self._live if connection.alive), key=_pending, default=None)

    async def _wait_for_connection(self, until: float) -> Connection:
        if not self._keepers:
            raise StoreUnavailableError(
                f"read at {self._settings.redis_address}", "the reader is not started"
            )
        async with asyncio.timeout_at(until), self._changed:
            while True:
                connection = self._least_busy()
                if connection is not None:
                    return connection
                for keeper in self._keepers:
                    if keeper.done():
                        keeper.result()
                # Waiting does not mend credentials.
                if isinstance(self._failure, StoreRefusedError):
                    raise StoreRefusedError(self._failure.doing, self._failure.reason)
                await self._changed.wait()

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = _FIRST_BACKOFF
        while True:
            try:
                connection = await open_connection(self._settings, self._tls)
            except StoreError as error:
                await self._tell(error)
            else:
                born = loop.time()
                await self._keep(connection)
                if loop.time() - born > _LONGEST_BACKOFF:
                    backoff = _FIRST_BACKOFF
                    continue
            await asyncio.sleep(backoff * random.uniform(0.5, 1.5))
            backoff = min(2 * backoff, _LONGEST_BACKOFF)

    async def _keep(self, connection: Connection) -> None:
        self._live.append(connection)
        try:
            await self._tell(None)
            await connection.closed
        finally:
            self._live.remove(connection)
            connection.close("the reader is closed")

    async def _tell(self, failure: StoreError | None) -> None:
        self._failure = failure
        async with self._changed:
            self._changed.notify_all()


def _pending(connection: Connection) -> int:
    return connection.pending


def _tls_context(settings: OnlineStoreSettings) -> ssl.SSLContext | None:
    if not settings.redis_tls:
        return None
    try:
        return ssl.create_default_context(cafile=settings.redis_ca_file)
    except (OSError, ssl.SSLError) as error:
        raise StoreRefusedError(f"load the authorities in {settings.redis_ca_file}", str(error)) from error
