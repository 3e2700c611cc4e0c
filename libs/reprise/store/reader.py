"""What the predictor does with Redis: reads rows, many at once, in one round trip and in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import hiredis
import numpy as np
from numpy.typing import NDArray

from reprise.store.exceptions import CorruptRowError, StoreUnavailableError
from reprise.store.feast.codec import ViewCodec
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.async_cluster import AsyncClusterTransport
from reprise.store.transport.async_server import AsyncServerTransport, AsyncTransport
from reprise.store.transport.connection import (
    ConnectionLostError,
    DeadlineError,
    command,
    reply_error,
    tls_context,
)
from reprise.store.transport.resp_rows import RespRows

_PING = command(b"PING")
_MANY = 100
_Replies = TypeVar("_Replies")


class OnlineRow(NamedTuple):
    """One entity's row.

    Attributes:
        state: The numbers in the order of the view's fields; all ``None`` where the entity is not known.
        known: Whether the store has a row of the entity.
    """

    state: list[float | int | None]
    known: bool


Ids = Sequence[Sequence[str]]
"""For each join key of a view, in order, the ids of the entities."""


@dataclass(frozen=True, slots=True)
class RowBlock:
    """The rows of many entities of one view.

    Attributes:
        state: Shape (entities, fields), NaN for a null and throughout where the entity is not known.
        known: Shape (entities,), whether the store has a row of the entity.
    """

    state: NDArray[np.float64]
    known: NDArray[np.bool_]


class _Wanted(NamedTuple):
    """The distinct keys of a view, and for each entity the position of its key; ``None`` where none repeats."""

    codec: ViewCodec
    keys: list[bytes]
    places: NDArray[np.intp] | None


class OnlineReader:
    """Reads rows for one process, from one event loop.

    It keeps its connections made in the background, so that a read finds one, and makes them again, ever
    more slowly, while the store is away. A read that finds none waits for one until its deadline; one whose
    connection is lost is sent again on another, within the deadline. Needs the permissions ``HMGET``,
    ``PING`` and, for a database other than 0, ``SELECT``; on a cluster ``CLUSTER|SLOTS`` and ``ASKING``.

    Args:
        settings: Where the store is.
        deadline: Longest that a read takes, in seconds, unless the read says otherwise.
        connections: How many connections to keep to each server; many reads can be under way on each.

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
        kind = AsyncClusterTransport if settings.is_cluster else AsyncServerTransport
        self._reads: AsyncTransport = kind(settings, tls_context(settings), connections)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to connect; needs a running event loop. The store need not be there yet."""
        self._reads.start()

    async def close(self) -> None:
        """Drop the connections; reads that are under way fail."""
        await self._reads.close()

    async def ping(self, deadline: float | None = None) -> None:
        """Return once the store answers, all primaries of it.

        Raises:
            StoreError: It does not in time, or refuses.
        """
        for reply in await self._in_time(
            "ping", deadline, lambda until: self._reads.ask_everywhere(_PING, until)
        ):
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
        commands = [codec.read_command(key) for codec, key in rows]
        replies = await self._ask(commands, [key for _, key in rows], deadline)
        found = []
        for (codec, key), reply in zip(rows, replies, strict=True):
            if isinstance(reply, hiredis.ReplyError):
                raise self._read_error(codec, key, reply)
            found.append(OnlineRow(codec.decode(reply, key), reply[-1] is not None))
        return found

    async def read_blocks(
        self, blocks: Sequence[tuple[ViewCodec, Ids]], deadline: float | None = None
    ) -> list[RowBlock]:
        """Return many rows of several views, all asked for before the first is answered; a repeated single id once.

        Args:
            blocks: Codec and ids of each view.
            deadline: Longest that it takes, in seconds; the reader's own by default.

        Returns:
            For each view its rows, in the order of its ids.

        Raises:
            StoreError: The store is away, or did not answer in time, or refuses.
            CorruptRowError: A row does not hold what its view says.
        """
        wanted = [_wanted(codec, ids) for codec, ids in blocks]
        if any(len(each.keys) >= _MANY for each in wanted):
            # All are sent before the first is answered; one is decoded while the store works on the next.
            return list(await asyncio.gather(*(self._read_many(each, deadline) for each in wanted)))
        commands = [each.codec.read_command(key) for each in wanted for key in each.keys]
        asked = [key for each in wanted for key in each.keys]
        replies = await self._ask(commands, asked, deadline) if commands else []
        found = []
        start = 0
        for each in wanted:
            found.append(self._block(each, replies[start : start + len(each.keys)]))
            start += len(each.keys)
        return found

    async def _read_many(self, wanted: _Wanted, deadline: float | None) -> RowBlock:
        codec, keys = wanted.codec, wanted.keys
        commands, width = list(map(codec.read_command, keys)), len(codec.read_fields)
        rows = await self._in_time(
            "read rows", deadline, lambda until: self._reads.ask_rows(commands, keys, width, until)
        )
        if not isinstance(rows, RespRows):
            return self._block(wanted, rows)
        return _spread(wanted, codec.decode_raw(rows, keys), rows.lengths[:, -1] >= 0)

    def _block(self, wanted: _Wanted, rows: list[Any]) -> RowBlock:
        for key, row in zip(wanted.keys, rows, strict=True):
            if isinstance(row, hiredis.ReplyError):
                raise self._read_error(wanted.codec, key, row)
        state = wanted.codec.decode_many(rows, wanted.keys)
        return _spread(wanted, state, np.array([row[-1] is not None for row in rows], np.bool_))

    def _read_error(self, codec: ViewCodec, key: bytes, reply: hiredis.ReplyError) -> Exception:
        if str(reply).startswith("WRONGTYPE"):
            return CorruptRowError(codec.view.name, "*", key, "the key holds no hash")
        return reply_error(f"read rows at {self._settings.redis_address}", reply)

    async def _ask(
        self, commands: Sequence[bytes], keys: Sequence[bytes], deadline: float | None
    ) -> list[Any]:
        return await self._in_time(
            "read rows", deadline, lambda until: self._reads.ask(commands, keys, until)
        )

    async def _in_time(
        self, doing: str, deadline: float | None, ask: Callable[[float], Awaitable[_Replies]]
    ) -> _Replies:
        seconds = self._deadline if deadline is None else deadline
        try:
            return await ask(asyncio.get_running_loop().time() + seconds)
        except (DeadlineError, TimeoutError) as error:
            reason = f"no answer within {seconds * 1000:g} ms"
            why = str(error) or self._reads.failure
            if why:
                reason += f" ({why})"
            raise StoreUnavailableError(f"{doing} at {self._settings.redis_address}", reason) from None
        except ConnectionLostError as error:
            raise StoreUnavailableError(f"{doing} at {self._settings.redis_address}", str(error)) from None


def _wanted(codec: ViewCodec, ids: Ids) -> _Wanted:
    entities = ids[0]
    # That a pair is asked for twice is so rare that to look for it costs more than to read it twice.
    position = {} if len(ids) > 1 else dict(zip(dict.fromkeys(entities), range(len(entities)), strict=False))
    if len(position) in (0, len(entities)):
        return _Wanted(codec, codec.keys(*ids), None)
    places = np.fromiter(map(position.__getitem__, entities), np.intp, len(entities))
    return _Wanted(codec, codec.keys(list(position)), places)


def _spread(wanted: _Wanted, state: NDArray[np.float64], known: NDArray[np.bool_]) -> RowBlock:
    """Return the rows of the entities from those of the distinct keys."""
    places = wanted.places
    return RowBlock(state, known) if places is None else RowBlock(state[places], known[places])
