"""An online store in memory, with the reader's protocol."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from reprise.store.exceptions import CorruptRowError
from reprise.store.feast.codec import ViewCodec
from reprise.store.reader import Ids, OnlineRow, RowBlock

State = Sequence[float | int | None]


class FakeReader:
    """Holds rows; ``failure`` makes every call raise, a corrupt key its own reads; ``delay`` is in seconds."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, bytes], dict[str, Any]] = {}
        self.corrupt: set[bytes] = set()
        self.failure: Exception | None = None
        self.round_trips = 0
        self.delay = 0.0
        self.started = False

    def put(self, codec: ViewCodec, state: State, *ids: str) -> None:
        values = dict(zip([field.name for field in codec.view.fields], state, strict=True))
        self.rows.setdefault((codec.view.name, codec.key(*ids)), {}).update(values)

    async def __aenter__(self) -> Self:
        self.started = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.started = False

    async def ping(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def read(
        self, rows: Sequence[tuple[ViewCodec, bytes]], deadline: float | None = None
    ) -> list[OnlineRow]:
        await self._round_trip()
        return [self._row(codec, key) for codec, key in rows]

    async def read_blocks(
        self, blocks: Sequence[tuple[ViewCodec, Ids]], deadline: float | None = None
    ) -> list[RowBlock]:
        await self._round_trip()
        found = []
        for codec, ids in blocks:
            rows = [self._row(codec, key) for key in codec.keys(*ids)]
            state = np.array([row.state for row in rows], np.float64)
            found.append(RowBlock(state, np.array([row.known for row in rows], np.bool_)))
        return found

    async def _round_trip(self) -> None:
        self.round_trips += 1
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.failure is not None:
            raise self.failure

    def _row(self, codec: ViewCodec, key: bytes) -> OnlineRow:
        if key in self.corrupt:
            raise CorruptRowError(codec.view.name, "*", key, "made so by the test")
        state = self.rows.get((codec.view.name, key))
        if state is None:
            return OnlineRow([None] * len(codec.view.fields), known=False)
        return OnlineRow([state.get(field.name) for field in codec.view.fields], known=True)
