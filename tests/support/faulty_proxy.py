"""A TCP proxy in front of a real server, that does to a connection what networks and machines do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

_CHUNK = 64 * 1024


class FaultyProxy:
    """Forwards bytes until it is told otherwise; the faults may be changed at any time, from any thread.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        delay: Seconds that each piece of an answer is held back.
        stalled: While true, connections are taken and kept, and nothing is forwarded.
        refusing: While true, new connections are reset at once.
        cut_after: How many bytes of the next answer are forwarded before its connection is closed, once.
        accepted: How many connections were taken so far.
    """

    host = "127.0.0.1"

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty-proxy", daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self.port = 0
        self.delay = 0.0
        self.stalled = False
        self.refusing = False
        self.cut_after: int | None = None
        self.accepted = 0

    def start(self) -> None:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, self.host, 0))
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        self._server.close()
        self.drop_connections()
        self._run(self._cancel_pumps())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def redirect(self, host: str, port: int) -> None:
        """Send new connections elsewhere, as a failover does; those that are there stay."""
        self._target = (host, port)

    def drop_connections(self) -> None:
        self._run(self._drop())

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _cancel_pumps(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.refusing:
            writer.transport.abort()
            return
        try:
            back, forth = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, forth}
        for work in (
            self._pump(reader, forth, writer, answer=False),
            self._pump(back, writer, forth, answer=True),
        ):
            pump = asyncio.create_task(work)
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        other: asyncio.StreamWriter,
        *,
        answer: bool,
    ) -> None:
        try:
            while piece := await source.read(_CHUNK):
                if answer and self.delay:
                    await asyncio.sleep(self.delay)
                while self.stalled:
                    await asyncio.sleep(0.005)
                if answer and self.cut_after is not None:
                    cut, self.cut_after = self.cut_after, None
                    sink.write(piece[:cut])
                    await sink.drain()
                    return
                sink.write(piece)
                await sink.drain()
        except ConnectionError:
            return
        finally:
            for writer in (sink, other):
                writer.close()
                self._writers.discard(writer)


@contextmanager
def faulty_proxy(host: str, port: int) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(host, port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
