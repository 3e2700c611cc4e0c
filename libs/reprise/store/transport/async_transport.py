"""The asyncio transport: each primary gets the commands on its slots in one frame, before a deadline."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from reprise.store.exceptions import StoreError, StoreRefusedError, StoreUnavailableError
from reprise.store.settings import Address, OnlineStoreSettings
from reprise.store.transport.connection import Connection, DeadlineError, Replies, open_connection
from reprise.store.transport.resp import CLUSTER_SLOTS, ConnectionLostError
from reprise.store.transport.resp_rows import RespRows
from reprise.store.transport.router import CommandBatch, Router, SlotMap

_SLOTS_TIMEOUT_SECONDS = 0.5
_REFRESH_SECONDS = 30.0
_REFRESH_INCOMPLETE_SECONDS = 0.25
_MIN_REFRESH_SECONDS = 0.1
_RETRY_SECONDS = 0.02
_FIRST_BACKOFF = 0.02
_MAX_BACKOFF = 1.0
_Found = TypeVar("_Found", bound=Sequence[Any])
_Requests = list[tuple[Connection, Sequence[bytes]]]
"""The commands to send on each connection."""


class AsyncTransport:
    """Sends commands to one server or to the primaries of a cluster, and returns the replies.

    Requests end at a deadline in the loop's time, ``until``. They raise ``DeadlineError`` or ``TimeoutError`` where no
    answer comes in time, and ``StoreError`` where the store refuses connections. A command whose connection is lost
    is sent again on another one.

    A cluster's slot map is requested in the background: at the start, when a node reports a moved slot, when a
    connection is lost, and repeatedly while a primary cannot be reached. Meanwhile a request waits.
    """

    def __init__(self, settings: OnlineStoreSettings, tls: ssl.SSLContext | None, connections: int) -> None:
        self._settings = settings
        self._tls = tls
        self._size = connections
        self._router = Router(settings)
        self._changed = asyncio.Condition()
        self._stale = asyncio.Event()
        self._pools: dict[Address, ConnectionPool] = {}
        self._server: ConnectionPool | None = None
        self._refresher: asyncio.Task[None] | None = None
        self._slots_failure: StoreError | None = None

    @property
    def failure(self) -> StoreError | None:
        """Why a primary cannot be reached, ``None`` where the last attempt to connect to each succeeded."""
        if self._slots_failure is not None:
            return self._slots_failure
        failures = (pool.failure for pool in self._pools.values() if pool.least_pending() is None)
        return next((failure for failure in failures if failure is not None), None)

    @property
    def _is_started(self) -> bool:
        return self._refresher is not None or self._server is not None

    def start(self) -> None:
        """Begin to connect; needs a running event loop."""
        if self._router.is_cluster:
            self._refresher = self._refresher or asyncio.create_task(self._refresh_slots())
        else:
            self._server = self._pool(self._settings.redis_addresses[0])

    async def close(self) -> None:
        """Close the connections."""
        refresher, self._refresher, self._server = self._refresher, None, None
        if refresher is not None:
            refresher.cancel()
            await asyncio.gather(refresher, return_exceptions=True)
        self._router.forget_slots()
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.close()

    async def execute(self, commands: Sequence[bytes], keys: Sequence[bytes], until: float) -> list[Any]:
        """Send commands, each with its key, and return their replies in order, errors of Redis among them."""
        server = None if self._server is None else self._server.least_pending()
        if server is not None:
            # A single prediction: what follows would take a tenth of its time.
            with suppress(ConnectionLostError):
                return await server.execute(b"".join(commands), len(commands), until)
        batch = CommandBatch(commands, keys, is_cluster=self._router.is_cluster)
        last: Exception | str = ""
        try:
            async with asyncio.timeout_at(until):
                while True:
                    requests = self._requests(batch) or await self._when(
                        lambda: self._requests(batch, is_waiting=True)
                    )
                    await self._send(batch, requests, until)
                    if not batch.pending:
                        return batch.replies
                    last = batch.error or last
                    await asyncio.sleep(_RETRY_SECONDS if batch.error else 0)
        except (DeadlineError, TimeoutError):
            raise DeadlineError(last) from None

    async def execute_rows(
        self, commands: Sequence[bytes], keys: Sequence[bytes], width: int, until: float
    ) -> Replies:
        """Do as ``execute`` with commands that each ask for ``width`` fields; return ``RespRows`` if possible.

        If a node does not return all rows, all are requested again by ``execute``.
        """
        batch = CommandBatch(commands, keys, is_cluster=self._router.is_cluster)
        requests = self._requests(batch)
        if requests is None:
            return await self.execute(commands, keys, until)
        answers = await asyncio.gather(
            *(
                connection.execute_rows(b"".join(frame), len(frame), width, until)
                for connection, frame in requests
            ),
            return_exceptions=True,
        )
        parts = []
        for (connection, _), answer in zip(requests, answers, strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, ConnectionLostError):
                raise answer
            if isinstance(answer, RespRows):
                parts.append((batch.sent(connection.address), answer))
        if len(parts) < len(requests):
            return await self.execute(commands, keys, until)
        return parts[0][1] if len(parts) == 1 else RespRows.joined(parts)

    async def execute_on_primaries(self, command: bytes, until: float) -> list[Any]:
        """Send a command without a key to every primary, and return the replies."""
        lost = ""
        try:
            async with asyncio.timeout_at(until):
                while True:
                    connections = self._primaries() or await self._when(self._primaries)
                    requests = (connection.execute(command, 1, until) for connection in connections)
                    try:
                        return [reply for (reply,) in await asyncio.gather(*requests)]
                    except ConnectionLostError as error:
                        lost = str(error)
                        self._stale.set()
                        await asyncio.sleep(_RETRY_SECONDS)
        except (DeadlineError, TimeoutError):
            raise DeadlineError(lost) from None

    async def _send(self, batch: CommandBatch, requests: _Requests, until: float) -> None:
        slots = self._router.slots
        assert slots is not None
        answers = await asyncio.gather(
            *(connection.execute(b"".join(frame), len(frame), until) for connection, frame in requests),
            return_exceptions=True,
        )
        for (connection, _), answer in zip(requests, answers, strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, ConnectionLostError):
                raise answer
            batch.take(connection.address, answer, self._router.slots or slots)
        if batch.error is not None or batch.moved:
            self._stale.set()

    def _requests(self, batch: CommandBatch, *, is_waiting: bool = False) -> _Requests | None:
        """Return what to send on which connections, ``None`` where one is missing."""
        if not self._is_started or self._router.slots is None:
            return None
        requests: _Requests = []
        with suppress(StoreUnavailableError):  # a slot has no node
            for address, frame in batch.requests(self._router.slots).items():
                connection = self._pool(address).least_pending()
                if connection is None:
                    break
                requests.append((connection, frame))
            else:
                return requests
        self._stale.set()
        if is_waiting:
            batch.forget_asks()  # a migrating slot may have arrived meanwhile
        return None

    def _primaries(self) -> list[Connection] | None:
        slots = self._router.slots
        if not self._is_started or slots is None or not slots.is_complete:
            return None
        found = [self._pool(address).least_pending() for address in slots.primaries()]
        connections = [connection for connection in found if connection is not None]
        return connections if len(connections) == len(found) else None

    async def _when(self, find: Callable[[], _Found | None]) -> _Found:
        """Return what is found once there is a new connection or slot map; raise why there will be none."""
        async with self._changed:
            while (found := find()) is None:
                if not self._is_started:
                    raise StoreUnavailableError(
                        f"read at {self._settings.redis_address}", "the reader is not started"
                    )
                if self._refresher is not None and self._refresher.done():
                    self._refresher.result()
                for pool in self._pools.values():
                    pool.raise_programming_error()
                failure = self.failure
                if isinstance(failure, StoreRefusedError):  # which waiting does not fix
                    raise StoreRefusedError(failure.operation, failure.reason)
                await self._changed.wait()
            return found

    def _pool(self, address: Address) -> ConnectionPool:
        pool = self._pools.get(address)
        if pool is None:
            pool = self._pools[address] = ConnectionPool(
                self._settings, address, self._tls, self._size, self._changed, self._stale.set
            )
        return pool

    async def _refresh_slots(self) -> None:
        while True:
            self._stale.clear()
            try:
                self._slots_failure = await self._use(await self._request_slots())
            except StoreError as error:
                self._slots_failure = error
            async with self._changed:
                self._changed.notify_all()
            await asyncio.sleep(_MIN_REFRESH_SECONDS)
            wait = _REFRESH_SECONDS if self._primaries() else _REFRESH_INCOMPLETE_SECONDS
            # wait_for of Python 3.11 loses a cancellation that arrives together with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stale.wait()

    async def _use(self, slots: SlotMap) -> StoreError | None:
        """Use this slot map, and return an error if slots have no node."""
        self._router.use(slots)
        primaries = slots.primaries()
        for address in primaries:
            self._pool(address)
        for address in [known for known in self._pools if known not in primaries]:
            await self._pools.pop(address).close()
        if slots.is_complete:
            return None
        return StoreUnavailableError(
            f"read at {self._settings.redis_address}", "there are slots without a node"
        )

    async def _request_slots(self) -> SlotMap:
        """Return the slot map of the first node that answers; open connections are tried first.

        Raises:
            StoreError: None does, or the first one refuses.
        """
        failure = StoreUnavailableError("ask for the cluster's layout", "no node is known")
        for address in sorted(self._router.candidates(), key=lambda at: self._open(at) is None):
            try:
                return await self._slots_of(address)
            except (ConnectionLostError, DeadlineError) as error:
                failure = StoreUnavailableError(
                    f"ask {address} for the cluster's layout", str(error) or "no answer"
                )
            except StoreUnavailableError as error:
                failure = error
        raise failure

    async def _slots_of(self, address: Address) -> SlotMap:
        now = asyncio.get_running_loop().time
        connection = self._open(address)
        if connection is not None:
            (reply,) = await connection.execute(CLUSTER_SLOTS, 1, now() + _SLOTS_TIMEOUT_SECONDS)
            return SlotMap.from_reply(reply, address)
        connection = await open_connection(self._settings, self._tls, address)
        try:
            (reply,) = await connection.execute(
                CLUSTER_SLOTS, 1, now() + self._settings.redis_connect_timeout
            )
            return SlotMap.from_reply(reply, address)
        finally:
            connection.close()

    def _open(self, address: Address) -> Connection | None:
        pool = self._pools.get(address)
        return None if pool is None else pool.least_pending()


class ConnectionPool:
    """Keeps connections to one server open, and reopens them with exponential backoff while it is away.

    ``changed`` is notified when a connection was opened, or could not be; ``on_lost`` is called when one was lost or
    could not be opened. ``failure`` says why the last attempt to connect failed, if it did.
    """

    def __init__(
        self,
        settings: OnlineStoreSettings,
        address: Address,
        tls: ssl.SSLContext | None,
        connections: int,
        changed: asyncio.Condition,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.address = address
        self.failure: StoreError | None = None
        self._settings = settings
        self._tls = tls
        self._changed = changed
        self._on_lost = on_lost
        self._open: list[Connection] = []
        self._tasks = [asyncio.create_task(self._reconnect()) for _ in range(connections)]

    async def close(self) -> None:
        """Close the connections; requests that are under way fail."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def least_pending(self) -> Connection | None:
        """Return the connection with the fewest pending requests, ``None`` where none is open."""
        # A connection may be closed for a moment before its task notices.
        alive = (connection for connection in self._open if connection.alive)
        return min(alive, key=lambda connection: connection.pending, default=None)

    def raise_programming_error(self) -> None:
        """Raise what has ended a task, which only an error of ours does."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def _reconnect(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = _FIRST_BACKOFF
        while True:
            try:
                connection = await open_connection(self._settings, self._tls, self.address)
            except StoreError as error:
                await self._report(error)
            else:
                opened_at = loop.time()
                await self._hold(connection)
                if loop.time() - opened_at > _MAX_BACKOFF:
                    backoff = _FIRST_BACKOFF
                    continue
            await asyncio.sleep(backoff * random.uniform(0.5, 1.5))
            backoff = min(2 * backoff, _MAX_BACKOFF)

    async def _hold(self, connection: Connection) -> None:
        self._open.append(connection)
        try:
            await self._report(None)
            await connection.closed
            self._on_lost()
        finally:
            self._open.remove(connection)
            connection.close("the reader is closed")

    async def _report(self, failure: StoreError | None) -> None:
        self.failure = failure
        if failure is not None:
            self._on_lost()
        async with self._changed:
            self._changed.notify_all()
