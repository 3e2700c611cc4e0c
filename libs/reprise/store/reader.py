"""Reads rows of state, many at once, in one round trip and before a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import hiredis
import numpy as np
from numpy.typing import NDArray

from reprise.store.async_client import AsyncStoreClient
from reprise.store.exceptions import CorruptRowError
from reprise.store.feast.codec import ViewCodec
from reprise.store.transport.resp import reply_error
from reprise.store.transport.resp_rows import RespRows

_MANY = 100
"""From this many keys of a view on, its rows are decoded as arrays."""


class OnlineRow(NamedTuple):
    """One entity's row."""

    # The values in the order of the view's fields; all ``None`` where the entity is not known
    state: list[Any]
    known: bool  # Whether the store has a row of the entity


Ids = Sequence[Sequence[str]]
"""For each join key of a view, in order, the ids of the entities."""


@dataclass(frozen=True, slots=True)
class RowBlock:
    """The rows of many entities of one view."""

    # Shape (entities, fields), NaN for a null and throughout where the entity is not known
    state: NDArray[np.float64]
    known: NDArray[np.bool_]  # Shape (entities,), whether the store has a row of the entity


class _DistinctRows(NamedTuple):
    """The distinct keys of a view, and for each entity the position of its key; ``None`` where none repeats."""

    codec: ViewCodec
    keys: list[bytes]
    places: NDArray[np.intp] | None


class OnlineReader(AsyncStoreClient):
    """Reads rows from one event loop; raises ``CorruptRowError`` where one does not match its view.

    Needs the permissions ``HMGET`` and ``PING`` and, for a database other than 0, ``SELECT``; on a cluster
    ``CLUSTER|SLOTS`` and ``ASKING``.
    """

    async def read(
        self, rows: Sequence[tuple[ViewCodec, bytes]], deadline: float | None = None
    ) -> list[OnlineRow]:
        """Return the rows with these keys, in order, in one round trip; the deadline is in seconds."""
        if not rows:
            return []
        commands = [codec.read_command(key) for codec, key in rows]
        replies = await self._execute(commands, [key for _, key in rows], "read rows", deadline)
        found = []
        for (codec, key), reply in zip(rows, replies, strict=True):
            if isinstance(reply, hiredis.ReplyError):
                raise self._read_error(codec, key, reply)
            found.append(OnlineRow(codec.decode(reply, key), reply[-1] is not None))
        return found

    async def read_blocks(
        self, blocks: Sequence[tuple[ViewCodec, Ids]], deadline: float | None = None
    ) -> list[RowBlock]:
        """Return many rows of several views in the order of their ids; all requests are sent before the first reply.

        A repeated id of one join key is read once. The deadline is in seconds.
        """
        wanted = [_distinct_rows(codec, ids) for codec, ids in blocks]
        if any(len(each.keys) >= _MANY for each in wanted):
            # One block is decoded while the store works on the next.
            return list(await asyncio.gather(*(self._read_many(each, deadline) for each in wanted)))
        commands = [each.codec.read_command(key) for each in wanted for key in each.keys]
        requested = [key for each in wanted for key in each.keys]
        replies = await self._execute(commands, requested, "read rows", deadline) if commands else []
        found = []
        start = 0
        for each in wanted:
            found.append(self._block(each, replies[start : start + len(each.keys)]))
            start += len(each.keys)
        return found

    async def _read_many(self, wanted: _DistinctRows, deadline: float | None) -> RowBlock:
        codec, keys = wanted.codec, wanted.keys
        commands, width = list(map(codec.read_command, keys)), len(codec.read_fields)
        rows = await self._before_deadline(
            "read rows", deadline, lambda until: self._transport.execute_rows(commands, keys, width, until)
        )
        if not isinstance(rows, RespRows):
            return self._block(wanted, rows)
        return _expand(wanted, codec.decode_resp_rows(rows, keys), rows.lengths[:, -1] >= 0)

    def _block(self, wanted: _DistinctRows, rows: list[Any]) -> RowBlock:
        for key, row in zip(wanted.keys, rows, strict=True):
            if isinstance(row, hiredis.ReplyError):
                raise self._read_error(wanted.codec, key, row)
        state = wanted.codec.decode_many(rows, wanted.keys)
        return _expand(wanted, state, np.array([row[-1] is not None for row in rows], np.bool_))

    def _read_error(self, codec: ViewCodec, key: bytes, reply: hiredis.ReplyError) -> Exception:
        if str(reply).startswith("WRONGTYPE"):
            return CorruptRowError(codec.view.name, "*", key, "the key holds no hash")
        return reply_error(f"read rows at {self._address}", reply)


def _distinct_rows(codec: ViewCodec, ids: Ids) -> _DistinctRows:
    entities = ids[0]
    # Repeated pairs are so rare that searching for them costs more than reading them twice.
    position = {} if len(ids) > 1 else dict(zip(dict.fromkeys(entities), range(len(entities)), strict=False))
    if len(position) in (0, len(entities)):
        return _DistinctRows(codec, codec.keys(*ids), None)
    places = np.fromiter(map(position.__getitem__, entities), np.intp, len(entities))
    return _DistinctRows(codec, codec.keys(list(position)), places)


def _expand(wanted: _DistinctRows, state: NDArray[np.float64], known: NDArray[np.bool_]) -> RowBlock:
    places = wanted.places
    return RowBlock(state, known) if places is None else RowBlock(state[places], known[places])
