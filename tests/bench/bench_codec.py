"""Speed of the codec, of guarded writes and of reads, on rows of 30 numbers in a real Redis on this machine.

``make bench BENCH=codec`` runs it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import redis.asyncio
import uvloop

from reprise.store.feast.codec import ViewCodec
from reprise.store.feast.view import StateField, StateView
from reprise.store.online_store import GuardedWrite, OnlineStore
from reprise.store.reader import OnlineReader
from reprise.store.settings import OnlineStoreSettings
from support.redis import running_redis

# A third of the row are integers, half of those instants: what the planned features keep, roughly.
FIELDS = tuple(StateField(f"f{number}", "double" if number % 3 else "int64") for number in range(30))
STATE = [
    number / 7 if number % 3 else 1_763_900_000_123_456 if number % 2 else number for number in range(30)
]
USER = ViewCodec("reprise", StateView("user_state", ("user_id",), FIELDS))
PRODUCT = ViewCodec("reprise", StateView("product_state", ("product_id",), FIELDS))
PAIR = ViewCodec("reprise", StateView("pair_state", ("user_id", "product_id"), FIELDS))
REQUEST = [(USER, USER.key("u1")), (PRODUCT, PRODUCT.key("p1")), (PAIR, PAIR.key("u1", "p1"))]
BATCH = 1000


_NUMBERS: dict[str, float] = {}


def report(what: str, number: float, unit: str) -> None:
    _NUMBERS[f"{what}, {unit}"] = round(number, 3)
    print(f"{what:<58} {number:>9.2f} {unit}")


def per_call(function: Callable[[], object], times: int) -> float:
    """The seconds of one call, the best of five rounds."""
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(times):
            function()
        rounds.append((time.perf_counter() - start) / times)
    return min(rounds)


def bench_codec() -> None:
    row = USER.encode(STATE, b"w" * 22, 1)[1::2]
    many = [row] * BATCH
    numbers = len(STATE)
    report("key of a pair", per_call(lambda: PAIR.key("user-123", "product-456"), 10_000) * 1e9, "ns")
    report("encode, per value", per_call(lambda: USER.encode(STATE, b"w", 1), 2000) / numbers * 1e9, "ns")
    report("decode one row, per value", per_call(lambda: USER.decode(row), 5000) / numbers * 1e9, "ns")
    seconds = per_call(lambda: USER.decode_many(many), 5)
    report(f"decode {BATCH} rows, per value", seconds / numbers / BATCH * 1e9, "ns")


def bench_store(settings: OnlineStoreSettings) -> None:
    keys = [USER.key(f"u{number}") for number in range(BATCH)]
    with OnlineStore.connect(settings) as store:
        store.write_guarded([GuardedWrite(USER, key, None, STATE, b"w", 1) for key in keys])
        writes = [GuardedWrite(USER, key, b"w", STATE, b"w", 1) for key in keys]
        rows = [(USER, key) for key in keys]
        report("store: read, per row of 1000", per_call(lambda: store.read(rows), 3) / BATCH * 1e6, "µs")
        seconds = per_call(lambda: store.write_guarded(writes), 3) / BATCH
        report("store: guarded write, per row of 1000", seconds * 1e6, "µs")
        store.write_guarded([GuardedWrite(codec, key, None, STATE, b"w", 1) for codec, key in REQUEST])


async def bench_reads(settings: OnlineStoreSettings, loop: str) -> None:
    async with OnlineReader(settings, deadline=10) as reader:

        async def ours() -> None:
            await reader.read(REQUEST)

        await quantiles(f"{loop}: reader, user + product + pair", ours)
        start = time.perf_counter()
        await asyncio.gather(*(several(ours, 300) for _ in range(32)))
        report(f"{loop}: reader, 32 at once", (time.perf_counter() - start) / 32 / 300 * 1e6, "µs/read")
        users = [f"u{number}" for number in range(BATCH)]
        start = time.perf_counter()
        await reader.read_blocks([(USER, [users])])
        report(f"{loop}: reader, block of 1000", (time.perf_counter() - start) / BATCH * 1e6, "µs/row")

    client = redis.asyncio.Redis(host=settings.redis_host, port=settings.redis_port)

    async def theirs() -> None:
        async with client.pipeline(transaction=False) as pipeline:
            for codec, key in REQUEST:
                pipeline.execute_command("HMGET", key, *codec.read_fields)
            rows = await pipeline.execute()
        for (codec, _), row in zip(REQUEST, rows, strict=True):
            codec.decode(row)

    await quantiles(f"{loop}: redis.asyncio, user + product + pair", theirs)
    start = time.perf_counter()
    await asyncio.gather(*(several(theirs, 100) for _ in range(32)))
    report(f"{loop}: redis.asyncio, 32 at once", (time.perf_counter() - start) / 32 / 100 * 1e6, "µs/read")
    await client.aclose()


async def several(call: Callable[[], Awaitable[None]], times: int) -> None:
    for _ in range(times):
        await call()


async def quantiles(what: str, call: Callable[[], Awaitable[None]]) -> None:
    taken = []
    for _ in range(3000):
        start = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - start)
    taken.sort()
    report(f"{what}, p50", taken[len(taken) // 2] * 1e6, "µs")
    report(f"{what}, p99", taken[len(taken) * 99 // 100] * 1e6, "µs")


def run() -> dict[str, float]:
    bench_codec()
    with running_redis() as server:
        settings = server.settings()
        bench_store(settings)
        asyncio.run(bench_reads(settings, "asyncio"))
        uvloop.run(bench_reads(settings, "uvloop"))
    return _NUMBERS
