"""Reading the online store behind a circuit breaker."""

from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import Self, TypeVar

from reprise.predictor.metrics import PredictorMetrics
from reprise.predictor.storage.circuit_breaker import Circuit
from reprise.predictor.storage.state_reader import StateReader
from reprise.runtime.logs import get_logger
from reprise.store.exceptions import OnlineStoreError, StoreError
from reprise.store.feast.codec import ViewCodec
from reprise.store.reader import Ids, OnlineRow, RowBlock

_log = get_logger(__name__)
_Found = TypeVar("_Found")


class GuardedReader:
    """A state reader that counts failures, and refuses at once while the store keeps failing.

    Args:
        reader: What really reads.
        circuit: Decides whether it is asked.
        metrics: Where failures are counted.
    """

    def __init__(self, reader: StateReader, circuit: Circuit, metrics: PredictorMetrics) -> None:
        self._reader = reader
        self._circuit = circuit
        self._metrics = metrics

    async def __aenter__(self) -> Self:
        await self._reader.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._reader.__aexit__(kind, error, trace)

    @property
    def holds_off(self) -> bool:
        """Whether the store keeps failing."""
        return self._circuit.is_open

    async def ping(self) -> None:
        """Return once the store answers; asked even while the circuit is open.

        Raises:
            StoreError: It does not in time, or refuses.
        """
        try:
            await self._reader.ping()
        except StoreError:
            self._circuit.failed()
            raise
        self._circuit.sign_of_life()

    async def read(
        self, rows: Sequence[tuple[ViewCodec, bytes]], deadline: float | None = None
    ) -> list[OnlineRow]:
        """Return the rows with these keys; see ``StateReader``.

        Raises:
            StoreHeldOffError: The store keeps failing and is left alone for the moment.
            OnlineStoreError: As the reader itself.
        """
        self._circuit.enter()
        return await self._judged(self._reader.read(rows, deadline))

    async def read_blocks(
        self, blocks: Sequence[tuple[ViewCodec, Ids]], deadline: float | None = None
    ) -> list[RowBlock]:
        """Return the rows of several views; see ``StateReader``.

        Raises:
            StoreHeldOffError: The store keeps failing and is left alone for the moment.
            OnlineStoreError: As the reader itself.
        """
        self._circuit.enter()
        return await self._judged(self._reader.read_blocks(blocks, deadline))

    async def _judged(self, read: Awaitable[_Found]) -> _Found:
        try:
            with self._metrics.online_store.timed():
                found = await read
        except StoreError as error:
            before = self._circuit.is_open
            self._circuit.failed()
            if self._circuit.is_open and not before:
                _log.warning("store_held_off", error=type(error).__name__, reason=str(error))
            raise
        except OnlineStoreError:
            # What it answered cannot be read, but it did answer.
            self._circuit.succeeded()
            raise
        self._circuit.succeeded()
        return found
