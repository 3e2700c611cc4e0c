"""Requests at a fixed rate over kept connections, each timed from when it was due.

A loop that asks again only when it was answered would leave out the very moments in which nothing is answered.
Run as ``python paced_load.py HOST PORT RATE SECONDS REQUESTS.json``; prints quantiles as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from pathlib import Path

import uvloop

CONNECTIONS = 16
WARM_UP_SECONDS = 0.5


class Asker(asyncio.Protocol):
    """One connection; requests that wait for it are sent one after the other."""

    def __init__(self, taken: list[float]) -> None:
        self.taken = taken
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.due: float | None = None
        self.failed = 0
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.loop = asyncio.get_running_loop()

    def ask(self, due: float, frame: bytes) -> None:
        if self.due is None:
            self.due = due
            self.transport.write(frame)
        else:
            self.waiting.append((due, frame))

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self.received = b""
        self.failed += not head.startswith(b"HTTP/1.1 200")
        self.taken.append(self.loop.time() - self.due)
        self.due = None
        if self.waiting:
            self.ask(*self.waiting.popleft())


async def load(host: str, port: int, rate: float, seconds: float, bodies: list[dict]) -> dict:
    loop = asyncio.get_running_loop()
    frames = []
    for body in bodies:
        encoded = json.dumps(body).encode()
        head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        frames.append(f"{head}Content-Length: {len(encoded)}\r\n\r\n".encode() + encoded)
    taken: list[float] = []
    askers = [(await loop.create_connection(lambda: Asker(taken), host, port))[1] for _ in range(CONNECTIONS)]
    start = loop.time() + 0.01
    sent = 0
    total = int(rate * seconds)
    warm = int(rate * WARM_UP_SECONDS)
    while sent < total:
        while sent < total and start + sent / rate <= loop.time():
            askers[sent % CONNECTIONS].ask(start + sent / rate, frames[sent % len(frames)])
            sent += 1
        # Spinning would take the processor from Redis, which shares it.
        await asyncio.sleep(max(0.0, start + sent / rate - loop.time()))
    give_up = loop.time() + 10
    while len(taken) < total and loop.time() < give_up:
        await asyncio.sleep(0.01)
    counted = sorted(taken[warm:])
    if not counted:
        raise SystemExit("nothing was answered")
    return {
        "asked_per_second": rate,
        "answered": len(taken),
        "unanswered": total - len(taken),
        "failed": sum(asker.failed for asker in askers),
        "p50_ms": counted[len(counted) // 2] * 1e3,
        "p99_ms": counted[len(counted) * 99 // 100] * 1e3,
        "max_ms": counted[-1] * 1e3,
    }


if __name__ == "__main__":
    host, port, rate, seconds, file = sys.argv[1:]
    result = uvloop.run(
        load(host, int(port), float(rate), float(seconds), json.loads(Path(file).read_text()))
    )
    print(json.dumps(result))
