"""The asyncio transport of a Redis Cluster: each primary gets the commands on its slots in one frame."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import hiredis

from reprise.store.exceptions import StoreError, StoreUnavailableError
from reprise.store.settings import Address, OnlineStoreSettings
from reprise.store.transport.async_server import not_started, raise_refusal
from reprise.store.transport.command_batch import CommandBatch
from reprise.store.transport.connection import Connection, DeadlineError, Replies, open_connection
from reprise.store.transport.connection_pool import ConnectionPool
from reprise.store.transport.resp import CLUSTER_SLOTS, ConnectionLostError, reply_error
from reprise.store.transport.resp_rows import RespRows
from reprise.store.transport.slots import SlotMap

_SLOTS_TIMEOUT_SECONDS = 0.5
_REFRESH_SECONDS = 30.0
_REFRESH_INCOMPLETE_SECONDS = 0.25
_MIN_REFRESH_SECONDS = 0.1
_RETRY_SECONDS = 0.02

_Groups = dict[Connection, list[int]]
"""Positions of commands by the connection to send them on."""


class AsyncClusterTransport:
    """An ``AsyncServerTransport`` for the primaries of a cluster.

    The slot map is requested in the background: at the start, when a node reports a moved slot, when a connection is
    lost, and repeatedly while a primary cannot be reached. Meanwhile a request waits, until its deadline.
    """

    def __init__(self, settings: OnlineStoreSettings, tls: ssl.SSLContext | None, connections: int) -> None:
        self._settings = settings
        self._tls = tls
        self._size = connections
        self._changed = asyncio.Condition()
        self._stale = asyncio.Event()
        self._slots: SlotMap | None = None
        self._pools: dict[Address, ConnectionPool] = {}
        self._refresher: asyncio.Task[None] | None = None
        self._slots_failure: StoreError | None = None

    @property
    def failure(self) -> StoreError | None:
        """See ``AsyncServerTransport``."""
        if self._slots_failure is not None:
            return self._slots_failure
        failures = (pool.failure for pool in self._pools.values() if pool.least_pending() is None)
        return next((failure for failure in failures if failure is not None), None)

    def start(self) -> None:
        """See ``AsyncServerTransport``."""
        if self._refresher is None:
            self._refresher = asyncio.create_task(self._refresh_slots())

    async def close(self) -> None:
        """See ``AsyncServerTransport``."""
        refresher, self._refresher = self._refresher, None
        if refresher is not None:
            refresher.cancel()
            await asyncio.gather(refresher, return_exceptions=True)
        pools, self._pools, self._slots = list(self._pools.values()), {}, None
        for pool in pools:
            await pool.close()

    async def execute(self, commands: Sequence[bytes], keys: Sequence[bytes], until: float) -> list[Any]:
        """See ``AsyncServerTransport``."""
        batch = CommandBatch(commands, keys)
        error = ""
        try:
            async with asyncio.timeout_at(until):
                while True:
                    groups = self._groups(batch) or await self._wait_for_groups(batch)
                    error = await self._send(batch, groups, until) or error
                    if not batch.pending:
                        return batch.replies
                    await asyncio.sleep(_RETRY_SECONDS if error else 0)
        except (DeadlineError, TimeoutError):
            raise DeadlineError(error) from None

    async def execute_rows(
        self, commands: Sequence[bytes], keys: Sequence[bytes], width: int, until: float
    ) -> Replies:
        """See ``AsyncServerTransport``. If a node does not return all rows, all are requested again by ``execute``."""
        groups = self._groups(CommandBatch(commands, keys))
        if groups is None:
            return await self.execute(commands, keys, until)
        frames = [b"".join(commands[at] for at in positions) for positions in groups.values()]
        requests = (
            connection.execute_rows(frame, len(positions), width, until)
            for (connection, positions), frame in zip(groups.items(), frames, strict=True)
        )
        parts = []
        for positions, answer in zip(
            groups.values(), await asyncio.gather(*requests, return_exceptions=True), strict=True
        ):
            if isinstance(answer, BaseException) and not isinstance(answer, ConnectionLostError):
                raise answer
            if isinstance(answer, RespRows):
                parts.append((positions, answer))
        if len(parts) < len(groups):
            return await self.execute(commands, keys, until)
        return RespRows.joined(parts)

    async def execute_on_primaries(self, command: bytes, until: float) -> list[Any]:
        """See ``AsyncServerTransport``."""
        async with asyncio.timeout_at(until):
            connections = self._primaries() or await self._wait_for_primaries()
            requests = (connection.execute(command, 1, until) for connection in connections)
            return [reply for replies in await asyncio.gather(*requests) for reply in replies]

    async def _send(self, batch: CommandBatch, groups: _Groups, until: float) -> str:
        """Send the pending commands, and return an error to retry after; empty where there is none."""
        frames = [batch.frame(positions) for positions in groups.values()]
        requests = (
            connection.execute(b"".join(frame), len(frame), until)
            for connection, frame in zip(groups, frames, strict=True)
        )
        answers = await asyncio.gather(*requests, return_exceptions=True)
        error = ""
        for (connection, positions), answer in zip(groups.items(), answers, strict=True):
            if isinstance(answer, ConnectionLostError):
                self._stale.set()
                batch.retry(positions)
                error = str(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                transient, redirects = batch.take(connection.address, positions, answer, self._slots)
                for redirect in redirects:
                    self._pool(redirect.address)
                if transient or any(redirect.permanent for redirect in redirects):
                    self._stale.set()
                error = transient or error
        return error

    def _groups(self, batch: CommandBatch) -> _Groups | None:
        """Return the pending commands by connection, ``None`` where a connection is missing."""
        if self._slots is None:
            return None
        groups = {}
        for address, positions in batch.by_node(self._slots.owner).items():
            connection = None if address is None else self._pool(address).least_pending()
            if connection is None:
                self._stale.set()
                return None
            groups[connection] = positions
        return groups

    async def _wait_for_groups(self, batch: CommandBatch) -> _Groups:
        async with self._changed:
            while (groups := self._groups(batch)) is None:
                batch.retry(batch.pending)  # a migrating slot may have arrived
                await self._wait_for_change()
            return groups

    def _primaries(self) -> list[Connection] | None:
        """Return a connection to each primary, ``None`` where one is missing."""
        if self._slots is None or not self._slots.is_complete:
            return None
        found = [self._pool(address).least_pending() for address in self._slots.primaries()]
        connections = [connection for connection in found if connection is not None]
        return connections if len(connections) == len(found) else None

    async def _wait_for_primaries(self) -> list[Connection]:
        async with self._changed:
            while (connections := self._primaries()) is None:
                await self._wait_for_change()
            return connections

    async def _wait_for_change(self) -> None:
        """Wait for a new connection, a new slot map or a failure of either; the lock is held."""
        if self._refresher is None:
            raise not_started(self._settings)
        if self._refresher.done():
            self._refresher.result()
        for pool in self._pools.values():
            pool.raise_programming_error()
        raise_refusal(self.failure)
        await self._changed.wait()

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
        primaries = slots.primaries()
        for address in primaries:
            self._pool(address)
        self._slots = slots
        for address in [known for known in self._pools if known not in primaries]:
            await self._pools.pop(address).close()
        if slots.is_complete:
            return None
        return StoreUnavailableError(
            f"read at {self._settings.redis_address}", "there are slots without a node"
        )

    async def _request_slots(self) -> SlotMap:
        """Return the slot map of the first node that answers.

        Raises:
            StoreError: None does, or the first one refuses.
        """
        until = asyncio.get_running_loop().time() + _SLOTS_TIMEOUT_SECONDS
        for address, pool in list(self._pools.items()):
            connection = pool.least_pending()
            if connection is not None:
                try:
                    return await _slots(connection, address, until)
                except (ConnectionLostError, DeadlineError):
                    continue
        failure: StoreError | None = None
        for address in dict.fromkeys((*self._pools, *self._settings.redis_addresses)):
            try:
                connection = await open_connection(self._settings, self._tls, address)
                try:
                    until = asyncio.get_running_loop().time() + self._settings.redis_connect_timeout
                    return await _slots(connection, address, until)
                finally:
                    connection.close()
            except (ConnectionLostError, DeadlineError) as error:
                failure = StoreUnavailableError(
                    f"ask {address} for the cluster's layout", str(error) or "no answer"
                )
            except StoreUnavailableError as error:
                failure = error
        assert failure is not None
        raise failure


async def _slots(connection: Connection, address: Address, until: float) -> SlotMap:
    (reply,) = await connection.execute(CLUSTER_SLOTS, 1, until)
    if isinstance(reply, hiredis.ReplyError):
        raise reply_error(f"ask {address} for the cluster's layout", reply)
    return SlotMap.from_reply(reply, address)
