"""The nodes of a Redis Cluster for a reader: a frame to each primary that has keys of a request, all at once."""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import hiredis

from reprise.store.exceptions import StoreError, StoreUnavailableError
from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.async_server import not_started, raise_refusal
from reprise.store.transport.connection import (
    Connection,
    ConnectionLostError,
    DeadlineError,
    Replies,
    command,
    error_code,
    open_connection,
    reply_error,
)
from reprise.store.transport.connection_pool import ConnectionPool
from reprise.store.transport.resp_rows import RespRows
from reprise.store.transport.slots import Address, SlotMap, key_slot, parse_redirect

_ASKING = command(b"ASKING")
_LAYOUT = command(b"CLUSTER", b"SLOTS")
_PASSING = frozenset({"TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING"})
_LAYOUT_SECONDS = 0.5
_REFRESH_SECONDS = 30.0
_REFRESH_SOON_SECONDS = 0.25
_BETWEEN_LAYOUTS_SECONDS = 0.1
_RETRY_SECONDS = 0.02


class AsyncClusterTransport:
    """The primaries of a cluster; see ``AsyncTransport``.

    The layout is asked for in the background: at first, when a node says that a slot has moved, when a
    connection is lost, and again and again as long as a primary cannot be reached. Meanwhile a read waits, until
    its deadline.
    """

    def __init__(self, settings: OnlineStoreSettings, tls: ssl.SSLContext | None, connections: int) -> None:
        self._settings = settings
        self._tls = tls
        self._wanted = connections
        self._changed = asyncio.Condition()
        self._stale = asyncio.Event()
        self._slots: SlotMap | None = None
        self._upkeeps: dict[Address, ConnectionPool] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._layout_failure: StoreError | None = None

    @property
    def failure(self) -> StoreError | None:
        """See ``AsyncTransport``."""
        if self._layout_failure is not None:
            return self._layout_failure
        failures = (upkeep.failure for upkeep in self._upkeeps.values() if upkeep.least_busy() is None)
        return next((failure for failure in failures if failure is not None), None)

    def start(self) -> None:
        """See ``AsyncTransport``."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep_layout())

    async def close(self) -> None:
        """See ``AsyncTransport``."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        upkeeps, self._upkeeps, self._slots = list(self._upkeeps.values()), {}, None
        for upkeep in upkeeps:
            await upkeep.close()

    async def ask(self, commands: Sequence[bytes], keys: Sequence[bytes], until: float) -> list[Any]:
        """See ``AsyncTransport``."""
        replies: list[Any] = [None] * len(commands)
        slots = [key_slot(key) for key in keys]
        left: dict[int, Address | None] = dict.fromkeys(range(len(keys)))
        trouble = ""
        try:
            async with asyncio.timeout_at(until):
                while True:
                    groups = self._groups(slots, left) or await self._wait_for_groups(slots, left)
                    trouble = await self._round(groups, commands, left, replies, until) or trouble
                    if not left:
                        return replies
                    await asyncio.sleep(_RETRY_SECONDS if trouble else 0)
        except (DeadlineError, TimeoutError):
            raise DeadlineError(trouble) from None

    async def ask_rows(
        self, commands: Sequence[bytes], keys: Sequence[bytes], width: int, until: float
    ) -> Replies:
        """See ``AsyncTransport``. If a node does not return all rows, asks for everything again like ``ask``."""
        groups = self._groups([key_slot(key) for key in keys], dict.fromkeys(range(len(keys))))
        if groups is None:
            return await self.ask(commands, keys, until)
        frames = [b"".join(commands[at] for at in positions) for positions in groups.values()]
        asked = (
            connection.ask_rows(frame, len(positions), width, until)
            for (connection, positions), frame in zip(groups.items(), frames, strict=True)
        )
        parts = []
        for positions, answer in zip(
            groups.values(), await asyncio.gather(*asked, return_exceptions=True), strict=True
        ):
            if isinstance(answer, BaseException) and not isinstance(answer, ConnectionLostError):
                raise answer
            if isinstance(answer, RespRows):
                parts.append((positions, answer))
        return RespRows.joined(parts) if len(parts) == len(groups) else await self.ask(commands, keys, until)

    async def ask_everywhere(self, command: bytes, until: float) -> list[Any]:
        """See ``AsyncTransport``."""
        async with asyncio.timeout_at(until):
            connections = self._all_connections() or await self._wait_for_all()
            asked = (connection.ask(command, 1, until) for connection in connections)
            return [reply for replies in await asyncio.gather(*asked) for reply in replies]

    async def _round(
        self,
        groups: dict[Connection, list[int]],
        commands: Sequence[bytes],
        left: dict[int, Address | None],
        replies: list[Any],
        until: float,
    ) -> str:
        """Send what is left, and take what was answered off it; return what is wrong with the others, if anything."""
        waiting = []
        for connection, positions in groups.items():
            asking = [at for at in positions if left[at] is not None]
            pieces = [commands[at] for at in positions]
            if asking:
                pieces = [piece for at in positions for piece in _pieces(commands[at], left[at])]
            waiting.append(connection.ask(b"".join(pieces), len(pieces), until))
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        trouble = ""
        for (connection, positions), answer in zip(groups.items(), answers, strict=True):
            if isinstance(answer, ConnectionLostError):
                self._stale.set()
                left.update(dict.fromkeys(positions))
                trouble = str(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                trouble = self._take(connection, positions, answer, left, replies) or trouble
        return trouble

    def _take(
        self,
        connection: Connection,
        positions: Sequence[int],
        answer: Sequence[Any],
        left: dict[int, Address | None],
        replies: list[Any],
    ) -> str:
        received = iter(answer)
        trouble = ""
        for position in positions:
            asking = None if left[position] is None else next(received)
            reply = next(received)
            if isinstance(asking, hiredis.ReplyError):
                reply = asking
            if isinstance(reply, hiredis.ReplyError):
                text = str(reply)
                if error_code(text) in _PASSING:
                    self._stale.set()
                    left[position] = None
                    trouble = text
                    continue
                if self._is_redirected(text, connection, position, left):
                    continue
            replies[position] = reply
            del left[position]
        return trouble

    def _is_redirected(
        self, text: str, connection: Connection, position: int, left: dict[int, Address | None]
    ) -> bool:
        redirect = parse_redirect(text, connection.address)
        if redirect is None or self._slots is None:
            return False
        self._upkeep(redirect.address)
        if redirect.for_good:
            self._slots.move(redirect.slot, redirect.address)
            self._stale.set()
        left[position] = None if redirect.for_good else redirect.address
        return True

    def _groups(
        self, slots: Sequence[int], left: dict[int, Address | None]
    ) -> dict[Connection, list[int]] | None:
        """Return what to send on which connection, ``None`` where one is missing."""
        if self._slots is None:
            return None
        owner = self._slots.owner
        by_node: defaultdict[Address | None, list[int]] = defaultdict(list)
        for position, asked in left.items():
            by_node[asked or owner(slots[position])].append(position)
        groups = {}
        for address, positions in by_node.items():
            connection = None if address is None else self._upkeep(address).least_busy()
            if connection is None:
                self._stale.set()
                return None
            groups[connection] = positions
        return groups

    async def _wait_for_groups(
        self, slots: Sequence[int], left: dict[int, Address | None]
    ) -> dict[Connection, list[int]]:
        async with self._changed:
            while (groups := self._groups(slots, left)) is None:
                # a slot that was on its way may have arrived
                left.update(dict.fromkeys(left))
                await self._wait_for_change()
            return groups

    def _all_connections(self) -> list[Connection] | None:
        if self._slots is None or not self._slots.is_complete:
            return None
        found = [self._upkeep(address).least_busy() for address in self._slots.primaries()]
        connections = [connection for connection in found if connection is not None]
        return connections if len(connections) == len(found) else None

    async def _wait_for_all(self) -> list[Connection]:
        async with self._changed:
            while (connections := self._all_connections()) is None:
                await self._wait_for_change()
            return connections

    async def _wait_for_change(self) -> None:
        """Wait until a connection or a layout came, or could not be had; the lock is held."""
        if self._keeper is None:
            raise not_started(self._settings)
        if self._keeper.done():
            self._keeper.result()
        for upkeep in self._upkeeps.values():
            upkeep.raise_defect()
        raise_refusal(self.failure)
        await self._changed.wait()

    def _upkeep(self, address: Address) -> ConnectionPool:
        upkeep = self._upkeeps.get(address)
        if upkeep is None:
            upkeep = self._upkeeps[address] = ConnectionPool(
                self._settings, address, self._tls, self._wanted, self._changed, self._stale.set
            )
        return upkeep

    async def _keep_layout(self) -> None:
        while True:
            self._stale.clear()
            try:
                self._layout_failure = await self._settle_on(await self._ask_for_layout())
            except StoreError as error:
                self._layout_failure = error
            async with self._changed:
                self._changed.notify_all()
            await asyncio.sleep(_BETWEEN_LAYOUTS_SECONDS)
            wait = _REFRESH_SECONDS if self._all_connections() else _REFRESH_SOON_SECONDS
            # wait_for of Python 3.11 loses a cancellation that comes together with what it waits for.
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stale.wait()

    async def _settle_on(self, slots: SlotMap) -> StoreError | None:
        """Go by this layout, and return what it lacks."""
        primaries = slots.primaries()
        for address in primaries:
            self._upkeep(address)
        self._slots = slots
        for address in [known for known in self._upkeeps if known not in primaries]:
            await self._upkeeps.pop(address).close()
        if slots.is_complete:
            return None
        return StoreUnavailableError(
            f"read at {self._settings.redis_address}", "there are slots without a node"
        )

    async def _ask_for_layout(self) -> SlotMap:
        """Return the layout that the first node tells that answers.

        Raises:
            StoreError: None does, or the first one refuses.
        """
        until = asyncio.get_running_loop().time() + _LAYOUT_SECONDS
        for address, upkeep in list(self._upkeeps.items()):
            connection = upkeep.least_busy()
            if connection is not None:
                try:
                    return await _layout(connection, address, until)
                except (ConnectionLostError, DeadlineError):
                    continue
        failure: StoreError | None = None
        for address in dict.fromkeys((*self._upkeeps, *self._settings.redis_addresses)):
            try:
                connection = await open_connection(self._settings, self._tls, address)
                try:
                    until = asyncio.get_running_loop().time() + self._settings.redis_connect_timeout
                    return await _layout(connection, address, until)
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


async def _layout(connection: Connection, address: Address, until: float) -> SlotMap:
    (reply,) = await connection.ask(_LAYOUT, 1, until)
    if isinstance(reply, hiredis.ReplyError):
        raise reply_error(f"ask {address} for the cluster's layout", reply)
    return SlotMap.from_reply(reply, address)


def _pieces(command: bytes, asked: Address | None) -> list[bytes]:
    return [command] if asked is None else [_ASKING, command]
