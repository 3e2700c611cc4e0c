"""What the predictor needs of whoever reads the online store."""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from reprise.store.feast.codec import ViewCodec
from reprise.store.reader import Ids, OnlineRow, RowBlock


class StateReader(Protocol):
    """Reads rows of state; ``reprise.store.reader.OnlineReader`` is the real one, and says what is raised."""

    async def __aenter__(self) -> Self:
        """Begin to connect."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop the connections."""
        ...

    async def ping(self) -> None:
        """Return once the store answers."""
        ...

    async def read(
        self, rows: Sequence[tuple[ViewCodec, bytes]], deadline: float | None = None
    ) -> list[OnlineRow]:
        """Return the rows with these keys, in order, in one round trip, within ``deadline`` seconds."""
        ...

    async def read_blocks(
        self, blocks: Sequence[tuple[ViewCodec, Ids]], deadline: float | None = None
    ) -> list[RowBlock]:
        """Return the rows of several views, in one round trip, within ``deadline`` seconds."""
        ...
